// Command versitygw runs VersityGW's own S3 test suite against Hallig: every
// case of its full flow in a process of its own (a case can panic, and buckets
// left behind by one must not fail the next), a few at a time.
//
//	go run ./test/versitygw [-run REGEXP] [-parallel 2] [-timeout 90s] [-v]
//
// It installs the suite's command, builds Hallig, starts one `hallig start`
// per worker on a fresh directory and free ports, and prints a line for each
// case and a total. left-out.txt beside this file names the cases that are not
// run, each with the reason; -all runs them too, and -left-out runs only them.
// The exit code is 1 if a case failed.
//
// The suite makes users by running `./versitygw admin create-user`. It finds
// this program under that name, which asks Hallig's admin endpoint instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// suite is the module and version that is run.
const (
	suiteModule  = "github.com/versity/versitygw"
	suiteVersion = "v1.8.0"
)

type options struct {
	run      *regexp.Regexp
	parallel int
	timeout  time.Duration
	verbose  bool
	all      bool
	leftOut  bool
	hallig   string
	suite    string
}

func main() {
	if filepath.Base(os.Args[0]) == "versitygw" && len(os.Args) > 1 && os.Args[1] == "admin" {
		os.Exit(adminCommand(os.Args[2:]))
	}
	var o options
	pattern := flag.String("run", "", "run only the cases that match this regular expression")
	flag.IntVar(&o.parallel, "parallel", 2, "cases at a time, each worker with a Hallig of its own")
	flag.DurationVar(&o.timeout, "timeout", 90*time.Second, "of one case")
	flag.BoolVar(&o.verbose, "v", false, "print what failed cases print")
	flag.BoolVar(&o.all, "all", false, "also run the cases of left-out.txt")
	flag.BoolVar(&o.leftOut, "left-out", false, "run only the cases of left-out.txt")
	flag.StringVar(&o.hallig, "hallig", "", "binary to test; built if not given")
	flag.StringVar(&o.suite, "suite", "", "versitygw binary; installed if not given")
	flag.Parse()
	o.run = regexp.MustCompile(*pattern)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "versitygw:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// run does everything and returns how many cases failed.
func run(ctx context.Context, o options) (failed int, err error) {
	work, err := os.MkdirTemp("", "hallig-versitygw-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary directory
	if err := o.binaries(ctx, work); err != nil {
		return 0, err
	}
	cases, err := suiteCases(ctx)
	if err != nil {
		return 0, err
	}
	left, err := readLeftOut()
	if err != nil {
		return 0, err
	}
	if err := left.check(cases); err != nil {
		return 0, err
	}
	var todo []testCase
	skipped := 0
	for _, c := range cases {
		reason, out := left[c.name]
		switch {
		case !o.run.MatchString(c.name), o.leftOut && !out:
		case out && !o.all && !o.leftOut:
			skipped++
			fmt.Printf("SKIP %s: %s\n", c.name, reason)
		default:
			todo = append(todo, c)
		}
	}
	passed, failed, err := o.runAll(ctx, work, todo)
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed, err
}

// binaries finds or makes the suite's command and Hallig's.
func (o *options) binaries(ctx context.Context, work string) error {
	if o.suite == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		bin := filepath.Join(cache, "hallig-test", "versitygw-"+suiteVersion)
		o.suite = filepath.Join(bin, "versitygw")
		if _, err := os.Stat(o.suite); errors.Is(err, os.ErrNotExist) {
			install := exec.CommandContext(ctx, "go", "install", suiteModule+"/cmd/versitygw@"+suiteVersion)
			install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
			if out, err := install.CombinedOutput(); err != nil {
				return fmt.Errorf("install the suite: %w\n%s", err, out)
			}
		}
	}
	if o.hallig == "" {
		o.hallig = filepath.Join(work, "hallig")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.hallig, "github.com/hallig-cloud/hallig/cmd/hallig")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build hallig: %w\n%s", err, out)
		}
	}
	return nil
}

// runAll runs the cases over the workers.
func (o *options) runAll(ctx context.Context, work string, todo []testCase) (passed, failed int, err error) {
	queue := make(chan testCase)
	var mu sync.Mutex
	var workers sync.WaitGroup
	errs := make([]error, o.parallel)
	for i := range o.parallel {
		workers.Go(func() {
			w := &worker{o: o, dir: filepath.Join(work, fmt.Sprint("worker", i))}
			defer w.stop()
			for c := range queue {
				ok, out, err := w.do(ctx, c)
				mu.Lock()
				switch {
				case err != nil:
					errs[i] = errors.Join(errs[i], err)
					failed++
					fmt.Printf("FAIL %s: %v\n", c, err)
				case ok:
					passed++
					fmt.Printf("PASS %s\n", c)
				default:
					failed++
					fmt.Printf("FAIL %s: %s\n", c, summary(out))
					if o.verbose {
						fmt.Println(out)
					}
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range todo {
		if ctx.Err() != nil {
			break
		}
		queue <- c
	}
	close(queue)
	workers.Wait()
	return passed, failed, errors.Join(append(errs, ctx.Err())...)
}

// here is the directory of this program's source.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

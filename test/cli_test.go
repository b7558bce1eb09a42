package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/node"
	"github.com/hallig-cloud/hallig/test/harness"
)

// TestCommandLine runs the scripts of testdata: each is one story of an
// operator at a shell.
func TestCommandLine(t *testing.T) {
	binary := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(binary)+":"+os.Getenv("PATH"))
			e.Setenv("START", "--s3-addr=127.0.0.1:0")
			e.Setenv("HALLIG_ROOT_ACCESS_KEY", "HALLIGTESTACCESSKEY0")
			e.Setenv("HALLIG_ROOT_SECRET_KEY", "secret/of+the/tests0123456789")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": waitReady,
			"holds": waitHolds,
			"code":  wantCode,
			"term":  terminate,
			"put":   putObject,
			"get":   getObject,
			"as":    asKey,
		},
		RequireExplicitExec: true,
		Deadline:            time.Now().Add(3 * time.Minute),
	})
}

// waitReady DATA [STATE] waits until the node of a data directory is ready, or
// in the given state.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: ready DATA [STATE]")
	}
	data, want := ts.MkAbs(args[0]), "ready"
	if len(args) > 1 {
		want = args[1]
	}
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		st, err := statusOf(data)
		if last = err; err == nil && st.State == want {
			return
		}
	}
	ts.Fatalf("no node of %s is %s: %v", data, want, last)
}

// waitHolds DATA DRIVES COPIES waits until so many drives are online and so many
// copies of the catalog are current, with the key file.
func waitHolds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: holds DATA DRIVES COPIES")
	}
	var last string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		st, err := statusOf(ts.MkAbs(args[0]))
		drives, copies := 0, 0
		for _, d := range st.Drives {
			if d.State == "online" {
				drives++
			}
		}
		for _, m := range st.Mirrors {
			if m.State == "current" && m.KeyFile {
				copies++
			}
		}
		last = fmt.Sprint(drives, " ", copies, " ", err)
		if err == nil && strconv.Itoa(drives) == args[1] && strconv.Itoa(copies) == args[2] {
			return
		}
	}
	ts.Fatalf("drives online, current copies: %s", last)
}

// terminate DATA sends SIGTERM to the node of a data directory.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: term DATA")
	}
	text, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), "lock"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
}

// objectClient returns an S3 client of a data directory's node, of the first
// user or whom asKey said.
func objectClient(ts *testscript.TestScript, data string) *s3.Client {
	e, err := node.ReadEndpoints(ts.MkAbs(data))
	ts.Check(err)
	key := admin.Key{AccessKey: ts.Getenv("HALLIG_ROOT_ACCESS_KEY"), Secret: ts.Getenv("HALLIG_ROOT_SECRET_KEY")}
	if file := ts.Getenv("AS"); file != "" {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &key))
	}
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + e.S3), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKey, key.Secret, ""),
	})
}

// asKey FILE put|get … does it with the key that `hallig key create --json`
// printed into a file.
func asKey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: as FILE put|get …")
	}
	ts.Setenv("AS", args[0])
	defer ts.Setenv("AS", "")
	switch args[1] {
	case "put":
		putObject(ts, neg, args[2:])
	case "get":
		getObject(ts, neg, args[2:])
	default:
		ts.Fatalf("as: %s is neither put nor get", args[1])
	}
}

// putObject DATA BUCKET KEY TEXT stores an object by S3.
func putObject(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: put DATA BUCKET KEY TEXT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := objectClient(ts, args[0]).PutObject(ctx, &s3.PutObjectInput{Bucket: &args[1], Key: &args[2], Body: strings.NewReader(args[3])})
	if (err != nil) != neg {
		ts.Fatalf("put %s/%s: %v", args[1], args[2], err)
	}
}

// getObject DATA BUCKET KEY TEXT reads an object by S3 and compares it.
func getObject(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: get DATA BUCKET KEY TEXT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := objectClient(ts, args[0]).GetObject(ctx, &s3.GetObjectInput{Bucket: &args[1], Key: &args[2]})
	var body []byte
	if err == nil {
		defer out.Body.Close()
		body, err = io.ReadAll(out.Body)
	}
	if err == nil && string(body) != args[3] {
		ts.Fatalf("get %s/%s: %q, want %q", args[1], args[2], body, args[3])
	}
	if (err != nil) != neg {
		ts.Fatalf("get %s/%s: %v", args[1], args[2], err)
	}
}

func statusOf(data string) (admin.Status, error) {
	var st admin.Status
	e, err := node.ReadEndpoints(data)
	if err != nil {
		return st, err
	}
	token, err := os.ReadFile(filepath.Join(data, node.TokenFile))
	if err != nil {
		return st, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := admin.Client{Address: e.Admin, Token: strings.TrimSpace(string(token))}
	return st, c.Do(ctx, "GET", "/status", nil, &st)
}

// wantCode N COMMAND… runs a command and compares its exit code; what it
// prints is left for stdout and stderr.
func wantCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

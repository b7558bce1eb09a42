package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/test/harness"
)

// TestDocsCommands runs the commands that the documents print, against a node
// with four drives: every line of their sh blocks, comments and all, but for
// those that start or build a node, use another client or another endpoint, or
// ask a person. Paths and addresses stand for those of the test, and what
// measures is made short.
func TestDocsCommands(t *testing.T) {
	n := harness.Start(t, harness.Options{Drives: 4})
	skip := regexp.MustCompile(`^(go |(\./)?hallig start|aws |echo moin|export |--|sudo )|^  |--compare`)
	replace := strings.NewReplacer(
		"/var/lib/hallig", n.Data, "DATA", n.Data,
		"hallig keyring protect ", "printf 'correct horse' >pass; hallig keyring protect --passphrase-file pass ",
		"--count 5 ", "--count 5 --current-file pass ",
		"--duration 30s", "--duration 1s", "--objects 1000000", "--objects 200",
	)
	ran := 0
	dir := t.TempDir()
	for _, doc := range []string{"README.md", "docs/getting-started.md", "docs/operating.md"} {
		text, err := os.ReadFile(filepath.Join("..", doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(block[1]) {
				line = strings.TrimSuffix(line, "\n")
				if skip.MatchString(line) || strings.TrimSpace(line) == "" {
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				c := exec.CommandContext(ctx, "sh", "-c", replace.Replace(line))
				c.Dir = dir
				c.Env = []string{
					"PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + dir, "HALLIG_DATA=" + n.Data,
					"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey,
				}
				out, err := c.CombinedOutput()
				cancel()
				if err != nil {
					t.Errorf("%s: %s: %v\n%s", doc, line, err, out)
				}
				ran++
			}
		}
	}
	if ran < 7 {
		t.Errorf("only %d commands were found", ran)
	}
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// install builds Hallig from this tree and the peers from their modules. A
// peer that is there in its version is not built again.
func (p *program) install(ctx context.Context) error {
	p.binaries = map[string]string{}
	own := filepath.Join(p.opts.work, "bin", "hallig")
	p.say("building Hallig")
	if err := goCommand(ctx, nil, "build", "-buildvcs=false", "-o", own, "github.com/hallig-cloud/hallig/cmd/hallig"); err != nil {
		return err
	}
	p.binaries[hallig] = own
	var err error
	if p.halligHash, err = hashFile(own); err != nil {
		return err
	}
	for _, name := range p.opts.peers {
		sys := systems()[name]
		dir := filepath.Join(p.opts.work, "bin", strings.ToLower(name)+"-"+sys.version)
		binary := filepath.Join(dir, strings.ToLower(name))
		p.binaries[name] = binary
		if _, err := os.Stat(binary); err == nil {
			continue
		}
		p.say("installing %s", sys.install)
		if err := goCommand(ctx, []string{"GOBIN=" + dir}, "install", sys.install); err != nil {
			return err
		}
	}
	return nil
}

func goCommand(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

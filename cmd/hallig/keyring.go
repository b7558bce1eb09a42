package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/hallig-cloud/hallig/admin"
)

type keyringCmd struct {
	Status  keyringStatusCmd  `cmd:"" help:"Show what keys the node holds and where." default:"1"`
	Protect keyringProtectCmd `cmd:"" help:"Put the key file under a passphrase."`
	Unlock  keyringUnlockCmd  `cmd:"" help:"Open a protected keyring after a restart."`
	Rotate  keyringRotateCmd  `cmd:"" help:"Make a new root key, or a new epoch of a named key; data is re-wrapped, never rewritten."`
	Shares  keyringSharesCmd  `cmd:"" help:"Print recovery shares for the safe."`
	Recover keyringRecoverCmd `cmd:"" help:"Open the keyring with recovery shares."`
	Create  keyringCreateCmd  `cmd:"" help:"Make a named key for SSE-KMS."`
}

type keyringStatusCmd struct{}

// Run shows the keyring.
func (keyringStatusCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	k, err := call[admin.Keyring](ctx, c, "GET", "/keyring", nil)
	if err != nil {
		return err
	}
	return show(c, std, k, func(t *table) {
		t.row("state", keyringState(k))
		t.row("epoch", k.Epoch)
		t.row("recovery shares", k.Shares)
		for _, path := range k.Copies {
			t.row("key file", path)
		}
		for _, key := range k.Keys {
			t.row("named key", fmt.Sprintf("%s, epoch %d", key.Name, key.Epoch))
		}
	})
}

// passphraseFlags say where a passphrase comes from; a terminal is asked.
type passphraseFlags struct {
	PassphraseFile string `help:"Read the passphrase from this file (- is standard input) instead of asking." placeholder:"FILE"`
}

// read returns a passphrase; twice asks for it again.
func (p passphraseFlags) read(std *stdio, prompt string, twice bool) (string, error) {
	switch {
	case p.PassphraseFile == "-":
		return firstLine(std.in)
	case p.PassphraseFile != "":
		f, err := os.Open(p.PassphraseFile)
		if err != nil {
			return "", fmt.Errorf("read the passphrase: %w", err)
		}
		defer f.Close()
		return firstLine(f)
	}
	in, ok := std.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fmt.Errorf("no terminal to ask for the passphrase: give --passphrase-file: %w", errUsage)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(std.err, prompt)
		defer fmt.Fprintln(std.err)
		b, err := term.ReadPassword(int(in.Fd()))
		return string(b), err
	}
	first, err := ask(prompt + ": ")
	if err != nil || !twice {
		return first, err
	}
	second, err := ask("again: ")
	if err == nil && first != second {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// currentFlags say where the present passphrase of a protected key file comes
// from; it is asked for only when there is one.
type currentFlags struct {
	CurrentFile string `help:"Read the present passphrase from this file instead of asking." placeholder:"FILE"`
}

// read returns the present passphrase, "" when the key file is not protected.
func (p currentFlags) read(ctx context.Context, c *cli, std *stdio) (string, error) {
	k, err := call[admin.Keyring](ctx, c, "GET", "/keyring", nil)
	if err != nil || !k.Protected {
		return "", err
	}
	return passphraseFlags{p.CurrentFile}.read(std, "present passphrase", false)
}

type keyringProtectCmd struct {
	passphraseFlags
	currentFlags
	Remove bool `help:"Take the passphrase away."`
}

// Run protects the key file.
func (k *keyringProtectCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	old, err := k.currentFlags.read(ctx, c, std)
	if err != nil {
		return err
	}
	if k.Remove {
		return change(ctx, c, std, "POST", "/keyring/protect", admin.Passphrase{Old: old}, "The key file is no longer protected: whoever reads it reads everything.")
	}
	pass, err := k.passphraseFlags.read(std, "new passphrase", true)
	if err != nil {
		return err
	}
	if pass == "" {
		return fmt.Errorf("the passphrase is empty (--remove takes the protection away): %w", errUsage)
	}
	return change(ctx, c, std, "POST", "/keyring/protect", admin.Passphrase{Passphrase: pass, Old: old},
		"The key file is under the passphrase. A restart needs it: `hallig keyring unlock`, or --passphrase-file of `hallig start`.\nPrint recovery shares now: `hallig keyring shares`. Without passphrase and shares nobody can ever read the data again.")
}

type keyringUnlockCmd struct{ passphraseFlags }

// Run unlocks the keyring.
func (k *keyringUnlockCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	pass, err := k.read(std, "passphrase", false)
	if err != nil {
		return err
	}
	return change(ctx, c, std, "POST", "/keyring/unlock", admin.Passphrase{Passphrase: pass}, "The keyring is open.")
}

type keyringRotateCmd struct {
	currentFlags
	Name string `arg:"" optional:"" help:"A named key; the root key if not given."`
}

// Run rotates a key.
func (k *keyringRotateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	in := admin.Rotation{Name: k.Name}
	if k.Name == "" {
		var err error
		if in.Passphrase, err = k.read(ctx, c, std); err != nil {
			return err
		}
	}
	return change(ctx, c, std, "POST", "/keyring/rotate", in, "Rotated. Copy the key file to its safe place again: the former copy does not open what is wrapped from now on.")
}

type keyringSharesCmd struct {
	currentFlags
	Threshold int `help:"How many shares open the keyring." default:"3"`
	Count     int `help:"How many shares to print." default:"5"`
}

// Run prints recovery shares.
func (k *keyringSharesCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	pass, err := k.read(ctx, c, std)
	if err != nil {
		return err
	}
	s, err := call[admin.Shares](ctx, c, "POST", "/keyring/shares", admin.SharesWanted{Threshold: k.Threshold, Count: k.Count, Passphrase: pass})
	if err != nil {
		return err
	}
	return show(c, std, s, func(t *table) {
		t.line("Any %d of these %d shares open the keyring. Keep them apart, on paper. They are not shown again.\n", k.Threshold, k.Count)
		for i, share := range s.Shares {
			t.line("share %d:\n%s\n", i+1, share)
		}
	})
}

type keyringRecoverCmd struct {
	SharesFile string `help:"Read the shares from this file, separated by empty lines (- is standard input)." default:"-" placeholder:"FILE"`
	passphraseFlags
}

// Run recovers the keyring.
func (k *keyringRecoverCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	if k.SharesFile == "-" && k.PassphraseFile == "-" {
		return fmt.Errorf("shares and passphrase cannot both come from standard input: %w", errUsage)
	}
	in := std.in
	if k.SharesFile != "-" {
		f, err := os.Open(k.SharesFile)
		if err != nil {
			return fmt.Errorf("read the shares: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return fmt.Errorf("read the shares: %w", err)
	}
	req := admin.Shares{Shares: splitShares(string(text))}
	if k.PassphraseFile != "" {
		if req.Passphrase, err = k.read(std, "", false); err != nil {
			return err
		}
	}
	return change(ctx, c, std, "POST", "/keyring/recover", req, "The keyring is open.")
}

// splitShares parts shares at empty lines and drops the headings that
// `hallig keyring shares` prints.
func splitShares(text string) []string {
	var shares []string
	for _, part := range strings.Split(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		var lines []string
		for line := range strings.Lines(part) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasSuffix(line, ":") && !strings.HasPrefix(line, "Any ") {
				lines = append(lines, line)
			}
		}
		if len(lines) > 0 {
			shares = append(shares, strings.Join(lines, "\n"))
		}
	}
	return shares
}

type keyringCreateCmd struct {
	Name string `arg:"" help:"Name of the key."`
}

// Run makes a named key.
func (k *keyringCreateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	key, err := call[admin.EncryptorKey](ctx, c, "POST", "/keyring/keys", admin.Named{Name: k.Name})
	if err != nil {
		return err
	}
	return show(c, std, key, func(t *table) { t.line("Key %s made.", key.Name) })
}

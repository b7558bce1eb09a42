package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/node"
)

type startCmd struct {
	Drive    []string `help:"A directory on its own disk to store in; repeat it for more (a comma in a path is written \\,). DIR/drive1 of the data directory if none is given. Drives given once are remembered." placeholder:"DIR" type:"path"`
	S3Addr   string   `help:"Address of the S3 endpoint." name:"s3-addr" env:"HALLIG_S3_ADDR" default:"127.0.0.1:9000" placeholder:"HOST:PORT"`
	Provider string   `help:"Label: who runs this machine." placeholder:"NAME"`
	Site     string   `help:"Label: where it is." placeholder:"NAME"`
	Domain   []string `help:"Base domain of virtual-host style requests: BUCKET.DOMAIN; may be repeated." placeholder:"S3.EXAMPLE"`
	Region   string   `help:"Region that S3 clients sign for." default:"us-east-1"`
	SigV2    bool     `help:"Accept the old AWS signature version 2." name:"sig-v2" env:"HALLIG_SIG_V2"`

	RootAccessKey string `help:"Preset access key of the root user." hidden:""`
	RootSecretKey string `help:"Preset secret key of the root user." hidden:""`

	PassphraseFile    string `help:"File with the passphrase of a protected key file; the systemd credential hallig-passphrase is used if there is one." placeholder:"FILE"`
	PassphraseCommand string `help:"Command that prints the passphrase." placeholder:"COMMAND"`

	LostAfter          time.Duration `help:"How long a drive may be missing before it is declared lost and rebuilt on the others." default:"10m"`
	DrainWithin        time.Duration `help:"How long requests in flight may take to finish on SIGTERM." default:"25s"`
	ScrubEvery         time.Duration `help:"Time in which the background scrub means to read everything once." default:"168h"`
	RebalanceRate      int64         `help:"MiB a second that are moved at most to drives that were added." default:"32"`
	AllowMissing       bool          `help:"Start although more drives are missing than the promise covers, and serve what is left."`
	AcceptStaleCatalog bool          `help:"Start from a copy of the catalog that is known to be outdated, and LOSE what was written since. Only when the newer copies are gone for good and there is no export."`
	TrustClock         bool          `help:"Start although the clock is far from where it was."`

	LogFormat string `help:"Log as text or json." enum:"text,json" default:"text"`
	LogLevel  string `help:"Log debug, info, warn or error and above." enum:"debug,info,warn,error" default:"info"`
	AccessLog string `help:"Write a JSON line per S3 request to this file (- is standard output)." placeholder:"FILE"`
}

// Run serves until SIGTERM or SIGINT, then drains. A second signal exits at once.
func (s *startCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	cfg, closeLog, err := s.config(c, std)
	if err != nil {
		return err
	}
	defer closeLog()
	n, err := node.New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	go func() {
		select {
		case sig := <-signals:
			cfg.Log.Info("draining; a second signal exits at once", "signal", sig.String())
			stop()
		case <-ctx.Done():
			return
		}
		<-signals
		os.Exit(exitFailed)
	}()
	return n.Run(ctx, func(i node.Info) { banner(c, std, i) })
}

// config turns the flags into a node's configuration.
func (s *startCmd) config(c *cli, std *stdio) (node.Config, func(), error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return node.Config{}, nil, fmt.Errorf("--log-level: %w: %w", err, errUsage)
	}
	var handler slog.Handler = slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: level})
	if s.LogFormat == "json" {
		handler = slog.NewJSONHandler(std.err, &slog.HandlerOptions{Level: level})
	}
	cfg := node.Config{
		Data: c.Data, Drives: s.Drive, S3Addr: s.S3Addr, AdminAddr: c.AdminAddr,
		Provider: s.Provider, Site: s.Site, Region: s.Region, Domains: s.Domain, SigV2: s.SigV2,
		RootAccessKey: s.RootAccessKey, RootSecretKey: s.RootSecretKey,
		Passphrase: s.passphrase, LostAfter: s.LostAfter, RebalanceRate: s.RebalanceRate << 20, DrainWithin: s.DrainWithin,
		TrustClock: s.TrustClock, AllowMissing: s.AllowMissing, AcceptStale: s.AcceptStaleCatalog, ScrubEvery: s.ScrubEvery,
		Version: binaryVersion(), Log: slog.New(handler),
	}
	closeLog := func() {}
	switch s.AccessLog {
	case "":
	case "-":
		cfg.AccessLog = std.out
	default:
		f, err := os.OpenFile(s.AccessLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return cfg, nil, fmt.Errorf("access log: %w", err)
		}
		cfg.AccessLog, closeLog = f, func() { f.Close() }
	}
	return cfg, closeLog, nil
}

// systemdCredential is the name under which a unit may pass the passphrase
// (LoadCredential=hallig-passphrase:…).
const systemdCredential = "hallig-passphrase"

// passphrase finds the key file's passphrase, or "".
func (s *startCmd) passphrase() (string, error) {
	if s.PassphraseCommand != "" {
		out, err := exec.Command("/bin/sh", "-c", s.PassphraseCommand).Output() //nolint:noctx // the operator's own command may wait for a person
		if err != nil {
			return "", fmt.Errorf("passphrase command: %w", err)
		}
		return firstLine(strings.NewReader(string(out)))
	}
	name, optional := s.PassphraseFile, false
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); name == "" && dir != "" {
		name, optional = filepath.Join(dir, systemdCredential), true
	}
	if name == "" {
		return "", nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("passphrase file: %w", err)
	}
	defer f.Close()
	return firstLine(io.LimitReader(f, 4096))
}

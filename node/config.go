// Package node is the only wiring: it builds every service of one node from a
// Config, starts them in order, watches the drives, and stops everything in
// the reverse order.
package node

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// Config is what a Node is built from. Data must be set.
type Config struct {
	Data      string   // data directory: identity, lock, admin token, credentials; made if missing
	Drives    []string // drives given on the command line; those that the data directory remembers come on top
	S3Addr    string   // host:port; "" is 127.0.0.1:9000
	AdminAddr string   // host:port; "" is 127.0.0.1:9001
	Provider  string   // label of who runs the machine; "" keeps the remembered one, at first "local"
	Site      string   // label of where it is; "" keeps the remembered one, at first "default"
	Region    string   // what S3 clients sign for; "" is us-east-1
	Domains   []string // base domains of virtual-host style requests
	SigV2     bool     // accept AWS signature version 2

	// RootAccessKey and RootSecretKey preset the first credentials; both or
	// none. They are taken at every start: the root user gets that key.
	RootAccessKey, RootSecretKey string

	// Passphrase opens a protected key file. It is called once at start; it
	// returns "" when there is none, and the node is then blind until unlocked.
	// nil is "none".
	Passphrase func() (string, error)

	// LostAfter is how long a drive may be missing or failed while the node
	// serves before it is declared lost and its contents are rebuilt on the
	// others; 0 is 10 minutes. A drive that is back earlier costs nothing.
	LostAfter time.Duration
	// RebalanceRate bounds the bytes a second that are moved to even out how full
	// drives are; 0 is 32 MiB/s.
	RebalanceRate int64
	// WatchEvery is how often the drives are looked at; 0 is 1 s.
	WatchEvery time.Duration
	// DrainWithin bounds how long requests in flight may take to finish when
	// the node stops; 0 is 25 s.
	DrainWithin time.Duration
	// AllowMissing starts although more drives are missing than the promise
	// covers: what is left is served.
	AllowMissing bool
	// AcceptStale starts from mirrors of the catalog that are known not to be the
	// newest: acknowledged writes are lost.
	AcceptStale bool
	// TrustClock starts the node although its clock is far from where it was.
	TrustClock bool
	// ScrubEvery is the time in which the background scrub means to read
	// everything once; 0 is upkeep's default.
	ScrubEvery time.Duration

	Version   string       // shown in status
	Log       *slog.Logger // nil: none
	AccessLog io.Writer    // one JSON line per S3 request; nil: none
	FS        vfs.FS       // nil: vfs.OS
	Now       func() time.Time
}

// Defaults of Config.
const (
	DefaultS3Addr      = "127.0.0.1:9000"
	DefaultAdminAddr   = "127.0.0.1:9001"
	DefaultLostAfter   = 10 * time.Minute
	DefaultDrainWithin = 25 * time.Second
)

func (c *Config) fill() error {
	if c.Data == "" {
		return fmt.Errorf("no data directory: %w", hallig.ErrInvalid)
	}
	var err error
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("data directory %s: %w", c.Data, err)
	}
	for i, d := range c.Drives {
		if c.Drives[i], err = filepath.Abs(d); err != nil {
			return fmt.Errorf("drive %s: %w", d, err)
		}
	}
	for s, value := range map[*string]string{
		&c.S3Addr: DefaultS3Addr, &c.AdminAddr: DefaultAdminAddr, &c.Region: "us-east-1", &c.Version: "development",
	} {
		if *s == "" {
			*s = value
		}
	}
	for d, value := range map[*time.Duration]time.Duration{
		&c.LostAfter: DefaultLostAfter, &c.WatchEvery: time.Second, &c.DrainWithin: DefaultDrainWithin,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Passphrase == nil {
		c.Passphrase = func() (string, error) { return "", nil }
	}
	return c.check()
}

// check refuses what no node could be built from.
func (c *Config) check() error {
	for flag, addr := range map[string]string{"--s3-addr": c.S3Addr, "--admin-addr": c.AdminAddr} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return startf(err, "%s %q is not HOST:PORT: give for example 127.0.0.1:9000", flag, addr)
		}
	}
	if (c.RootAccessKey == "") != (c.RootSecretKey == "") {
		return startf(hallig.ErrInvalid, "HALLIG_ROOT_ACCESS_KEY and HALLIG_ROOT_SECRET_KEY go together: set both or none")
	}
	for flag, label := range map[string]string{"--provider": c.Provider, "--site": c.Site} {
		if len(label) > 63 || strings.ContainsAny(label, "\x00\n\t") {
			return startf(hallig.ErrInvalid, "%s %q: at most 63 characters, no line breaks", flag, label)
		}
	}
	seen := map[string]bool{}
	for _, d := range c.Drives {
		if seen[d] {
			return startf(hallig.ErrInvalid, "drive %s is given twice: every drive is a directory of its own", d)
		}
		seen[d] = true
	}
	return nil
}

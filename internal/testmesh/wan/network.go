package wan

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
)

// Config describes a network.
type Config struct {
	Hosts []string     // names, unique, of letters, digits, '-' and '_'
	Seed  uint64       // of every decision left to chance
	MTU   int          // of the TAP devices in bytes; 0 is 1,500
	Log   *slog.Logger // nil discards
}

// Links is what may be set and seen between hosts. All methods may be called
// at any time by any goroutine.
type Links interface {
	// Hosts returns the names in Config's order.
	Hosts() []string
	// Set changes one direction at once. What is on its way keeps its time of
	// arrival, and is dropped if the link is cut when it would arrive.
	Set(from, to string, l Link) error
	// Link returns what was set; the zero Link at first.
	Link(from, to string) (Link, error)
	// Counters returns one direction's counts.
	Counters(from, to string) (Counters, error)
}

// Places is how processes and clients use the network.
type Places interface {
	// Isolated reports whether hosts are namespaces (true) or loopback relays.
	Isolated() bool
	// Port returns a TCP port that is free at the host.
	Port(host string) (int, error)
	// Listen returns the host:port that a process at the host listens on.
	Listen(host string, port int) (string, error)
	// Addr returns the host:port under which one host reaches a port of another
	// (or of itself, then without any Link). In namespaces it is the same for
	// everyone.
	Addr(from, to string, port int) (string, error)
	// Dial connects from a host to an address that Addr or Listen gave.
	Dial(ctx context.Context, from, network, addr string) (net.Conn, error)
	// Start starts the command at the host.
	Start(host string, cmd *exec.Cmd) error
}

// A Network is open until Close, which ends all that it carries and removes
// what it made on the machine. Processes started at its hosts must have ended.
type Network interface {
	Links
	Places
	Close() error
}

// Open returns namespaces where they can be had and loopback relays elsewhere;
// then the reason is logged as a warning.
func Open(ctx context.Context, c Config) (Network, error) {
	n, err := OpenNamespaces(ctx, c)
	if err == nil {
		return n, nil
	}
	if !IsUnavailable(err) {
		return nil, err
	}
	c.logger().Warn("no network namespaces: using loopback relays, without loss and one-address nodes", "err", err)
	return OpenLoopback(c)
}

func (c Config) logger() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

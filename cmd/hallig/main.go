// Command hallig is the node and the tool that operates it: `hallig start`
// serves, every other subcommand speaks to a running node's admin address (or,
// like bench, to any S3 endpoint). One file per subcommand; the work is done
// by the packages node, admin and bench.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = ""

// cli is the whole command line. Every flag can also be given as an
// environment variable (HALLIG_ and the flag's name in capitals, - as _) and
// in the configuration file, in that order of precedence.
type cli struct {
	Config     configFlag `help:"Read flags from this JSON file: {\"data\": \"/srv/hallig\", \"drive\": [\"/mnt/a\", \"/mnt/b\"]}. /etc/hallig/config.json is read if it exists." placeholder:"FILE" env:"HALLIG_CONFIG"`
	Data       string     `help:"Data directory of the node (default ./hallig-data)." default:"./hallig-data" placeholder:"DIR"`
	AdminAddr  string     `help:"Admin address: where start serves it and where the other commands look for it (default ${admin_addr}; or what the running node wrote into the data directory)." placeholder:"HOST:PORT"`
	AdminToken string     `help:"Admin token; read from the file admin.token in the data directory when not given. Better in the environment than on the command line." placeholder:"TOKEN"`
	JSON       bool       `help:"Print JSON instead of tables." name:"json"`

	Start      startCmd                  `cmd:"" help:"Run a node."`
	Status     statusCmd                 `cmd:"" help:"Show what the node is doing and whether its promises hold."`
	User       userCmd                   `cmd:"" help:"Users and their policies."`
	Key        keyCmd                    `cmd:"" help:"S3 access keys."`
	Bucket     bucketCmd                 `cmd:"" help:"Buckets and what they survive."`
	Drive      driveCmd                  `cmd:"" help:"Drives: add, replace, remove."`
	Keyring    keyringCmd                `cmd:"" help:"The mesh's sealing keys: protect, unlock, rotate, recover."`
	Scrub      scrubCmd                  `cmd:"" help:"Read and verify everything."`
	Catalog    catalogCmd                `cmd:"" help:"Export and restore the catalog."`
	Webhook    webhookCmd                `cmd:"" help:"Where bucket events may be delivered to."`
	Bench      benchCmd                  `cmd:"" help:"Measure an S3 endpoint."`
	Version    versionCmd                `cmd:"" help:"Print the version."`
	Completion kongcompletion.Completion `cmd:"" help:"Print shell code that switches on tab completion."`
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, std stdio) int {
	var c cli
	app, err := kong.New(&c,
		kong.Name("hallig"),
		kong.Description("A cloud you own. `hallig start` runs a store that speaks S3; the other commands operate it.\n\nExit codes: "+exitCodes),
		kong.Configuration(loadConfig, "/etc/hallig/config.json"),
		kong.DefaultEnvars("HALLIG"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(std.out, std.err),
		kong.Vars{"admin_addr": defaultAdminAddr},
	)
	if err != nil {
		fmt.Fprintln(std.err, "hallig:", err)
		return exitFailed
	}
	kongcompletion.Register(app)
	if err := checkEnvironment(app.Model, os.Environ()); err != nil {
		fmt.Fprintln(std.err, "hallig:", err)
		return exitUsage
	}
	kctx, err := app.Parse(args)
	if err != nil {
		fmt.Fprintln(std.err, "hallig:", err)
		if pe, ok := errors.AsType[*kong.ParseError](err); ok && pe.Context != nil && pe.Context.Selected() != nil {
			fmt.Fprintf(std.err, "hallig: `%s --help` shows what it takes.\n", strings.TrimSpace("hallig "+pe.Context.Selected().Path()))
		} else {
			fmt.Fprintln(std.err, "hallig: `hallig --help` shows the commands.")
		}
		return exitUsage
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	if err := kctx.Run(&c, &std); err != nil {
		fmt.Fprintln(std.err, "hallig:", strings.TrimSuffix(err.Error(), ": "+errUsage.Error()))
		return exitCode(err)
	}
	return exitOK
}

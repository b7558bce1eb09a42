package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/hallig-cloud/hallig/node"
)

// banner says what was started: at length the first time, in short later.
func banner(c *cli, std *stdio, i node.Info) {
	if c.JSON {
		_ = show(c, std, i, nil) // standard output is gone: the node still serves
		return
	}
	var b strings.Builder
	endpoint := "http://" + reachable(i.S3)
	if i.First {
		firstBanner(&b, i, endpoint)
	} else {
		fmt.Fprintf(&b, "Hallig serves S3 at %s (admin %s), data in %s.\n", endpoint, i.Admin, i.Data)
	}
	fmt.Fprintf(&b, "%s\n", loud(i.Promise, !i.Safe))
	if i.Locked {
		b.WriteString(loud("The keyring is LOCKED: no object can be read or written. Open it: hallig keyring unlock --data "+i.Data+"\n", true))
	}
	fmt.Fprint(std.out, b.String())
}

func firstBanner(b *strings.Builder, i node.Info, endpoint string) {
	if i.SecretKey == "" {
		i.SecretKey = "$HALLIG_ROOT_SECRET_KEY" // preset: not printed into anybody's log
	}
	fmt.Fprintf(b, `Hallig is running.

  S3 endpoint   %s   (region %s)
  access key    %s
  secret key    %s
`, endpoint, i.Region, i.AccessKey, i.SecretKey)
	if i.Credentials != "" {
		fmt.Fprintf(b, "                (shown this once; also in %s)\n", i.Credentials)
	}
	fmt.Fprintf(b, "  data          %s\n", i.Data)
	for _, d := range i.Drives {
		fmt.Fprintf(b, "  drive         %s\n", d)
	}
	for _, k := range i.KeyFiles {
		fmt.Fprintf(b, "  key file      %s\n", k)
	}
	b.WriteString("\n" + loud(`WHOEVER READS THE KEY FILE READS EVERYTHING, and without it nobody reads
anything. Back it up elsewhere, or put it under a passphrase and print recovery
shares:  hallig keyring protect;  hallig keyring shares`, true) + "\n")
	fmt.Fprintf(b, `
Paste this to try it:

  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s
  aws --endpoint-url %s s3 mb s3://first
  echo moin | aws --endpoint-url %s s3 cp - s3://first/hello.txt
  aws --endpoint-url %s s3 cp s3://first/hello.txt -

or, behind the same export, with rclone:

  rclone lsf -R ":s3,provider=Other,env_auth,region=%s,endpoint='%s':"

`, i.AccessKey, i.SecretKey, i.Region, endpoint, endpoint, endpoint, i.Region, endpoint)
}

// loud frames what must not be overlooked.
func loud(text string, frame bool) string {
	if !frame {
		return text
	}
	return "  ! " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ! ")
}

// reachable turns a wildcard address into one that a client here can use.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

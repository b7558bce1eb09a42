package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hallig-cloud/hallig/admin"
)

func (c control) client() *admin.Client { return &admin.Client{Address: c.Admin, Token: c.Token} }

// adminCommand stands in for `versitygw admin`: it makes users by Hallig's
// admin endpoint. What it cannot do it says in the suite's way, which makes
// the case fail.
func adminCommand(args []string) int {
	if err := doAdmin(args); err != nil {
		fmt.Println("XAdminUnsupported:", err)
		return 1
	}
	return 0
}

func doAdmin(args []string) error {
	global := flag.NewFlagSet("admin", flag.ContinueOnError)
	for _, name := range []string{"a", "s", "er"} {
		global.String(name, "", "")
	}
	global.Bool("allow-insecure", false, "")
	if err := global.Parse(args); err != nil {
		return err
	}
	if global.NArg() == 0 || global.Arg(0) != "create-user" {
		return fmt.Errorf("no such command here: %v", global.Args())
	}
	create := flag.NewFlagSet("create-user", flag.ContinueOnError)
	access := create.String("a", "", "")
	secret := create.String("s", "", "")
	role := create.String("r", "", "")
	if err := create.Parse(global.Args()[1:]); err != nil {
		return err
	}
	text, err := os.ReadFile(controlFile)
	if err != nil {
		return err
	}
	var c control
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	return c.createUser(*access, *secret, *role)
}

// createUser makes a user named as its access key. The suite's roles: a user
// may do what buckets' policies and ACLs say, userplus also make buckets, an
// admin everything.
func (c control) createUser(access, secret, role string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	in := admin.NewUser{Name: access}
	switch role {
	case "user":
	case "userplus":
		in.Policy = json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:CreateBucket","s3:ListAllMyBuckets"],"Resource":"*"}]}`)
	case "admin":
		in.Policy = json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	default:
		return errors.New("unknown role " + role)
	}
	if err := c.client().Do(ctx, http.MethodPost, "/users", in, nil); err != nil {
		return fmt.Errorf("add user: %w", err)
	}
	if err := c.client().Do(ctx, http.MethodPost, "/keys", admin.NewKey{User: access, AccessKey: access, Secret: secret}, nil); err != nil {
		return fmt.Errorf("add key: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/hallig-cloud/hallig/admin"
)

type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Add a user."`
	List   userListCmd   `cmd:"" help:"List users."`
	Show   userShowCmd   `cmd:"" help:"Show a user, its keys and policies."`
	Remove userRemoveCmd `cmd:"" aliases:"delete" help:"Remove a user and its keys."`
	Policy userPolicyCmd `cmd:"" help:"A user's policies."`
}

type userAddCmd struct {
	Name   string `arg:"" help:"Name of the user."`
	Policy string `help:"First policy: readwrite, readonly, or a JSON file (- is standard input)." placeholder:"POLICY"`
}

// Run adds a user.
func (u *userAddCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	in := admin.NewUser{Name: u.Name}
	if u.Policy != "" {
		doc, err := readPolicy(u.Policy, std)
		if err != nil {
			return err
		}
		in.Policy = doc
	}
	user, err := call[admin.User](ctx, c, "POST", "/users", in)
	if err != nil {
		return err
	}
	return show(c, std, user, func(t *table) {
		if len(user.Policies) == 0 {
			t.line("User %s added. It may do nothing yet: hallig user policy set %s main readwrite", user.Name, user.Name)
		} else {
			t.line("User %s added.", user.Name)
		}
		t.line("Give it a key: hallig key create %s", user.Name)
	})
}

// readPolicy returns a policy document: a canned one by name, or a file's.
func readPolicy(name string, std *stdio) (json.RawMessage, error) {
	switch name {
	case "readwrite":
		return json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`), nil
	case "readonly":
		return json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}]}`), nil
	}
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(std.in, admin.MaxBody))
	} else {
		text, err = os.ReadFile(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("policy %q is neither readwrite nor readonly nor a file that is there: %w", name, errUsage)
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("policy %s is not JSON: %w", name, errUsage)
	}
	return text, nil
}

type userListCmd struct{}

// Run lists users.
func (userListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	users, err := call[[]admin.User](ctx, c, "GET", "/users", nil)
	if err != nil {
		return err
	}
	return show(c, std, users, func(t *table) {
		t.row("NAME", "KEYS", "POLICIES", "CREATED")
		for _, u := range users {
			policies := strings.Join(u.Policies, ",")
			if u.Root {
				policies = "(root: everything)"
			}
			t.row(u.Name, len(u.Keys), policies, when(u.Created))
		}
	})
}

type userShowCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

// Run shows a user.
func (u *userShowCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	user, err := call[admin.User](ctx, c, "GET", "/users/"+url.PathEscape(u.Name), nil)
	if err != nil {
		return err
	}
	return show(c, std, user, func(t *table) {
		t.row("name", user.Name)
		t.row("canonical id", user.ID)
		t.row("root", yes(user.Root))
		t.row("created", when(user.Created))
		t.row("keys", strings.Join(user.Keys, " "))
		t.row("policies", strings.Join(user.Policies, " "))
	})
}

type userRemoveCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

// Run removes a user.
func (u *userRemoveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "DELETE", "/users/"+url.PathEscape(u.Name), nil, "User %s removed.", u.Name)
}

type userPolicyCmd struct {
	List   policyListCmd   `cmd:"" help:"List a user's policies."`
	Show   policyShowCmd   `cmd:"" help:"Print a policy."`
	Set    policySetCmd    `cmd:"" help:"Attach or replace a policy."`
	Remove policyRemoveCmd `cmd:"" aliases:"delete" help:"Detach a policy."`
}

type policyListCmd struct {
	User string `arg:"" help:"Name of the user."`
}

func policies(ctx context.Context, c *cli, user string) ([]admin.Policy, error) {
	return call[[]admin.Policy](ctx, c, "GET", "/users/"+url.PathEscape(user)+"/policies", nil)
}

// Run lists a user's policies.
func (p *policyListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	list, err := policies(ctx, c, p.User)
	if err != nil {
		return err
	}
	return show(c, std, list, func(t *table) {
		t.row("POLICY", "BYTES")
		for _, x := range list {
			t.row(x.Name, len(x.Document))
		}
	})
}

type policyShowCmd struct {
	User   string `arg:"" help:"Name of the user."`
	Policy string `arg:"" help:"Name of the policy."`
}

// Run prints a policy's document.
func (p *policyShowCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	list, err := policies(ctx, c, p.User)
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.Name == p.Policy {
			_, err := fmt.Fprintln(std.out, string(x.Document))
			return err
		}
	}
	return fmt.Errorf("user %s has no policy %s: %w", p.User, p.Policy, errNotFound)
}

type policySetCmd struct {
	User     string `arg:"" help:"Name of the user."`
	Policy   string `arg:"" help:"Name of the policy."`
	Document string `arg:"" help:"readwrite, readonly, or a JSON file (- is standard input)."`
}

// Run attaches a policy.
func (p *policySetCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	doc, err := readPolicy(p.Document, std)
	if err != nil {
		return err
	}
	return change(ctx, c, std, "PUT", "/users/"+url.PathEscape(p.User)+"/policies/"+url.PathEscape(p.Policy),
		admin.Policy{Name: p.Policy, Document: doc}, "Policy %s attached to %s.", p.Policy, p.User)
}

type policyRemoveCmd struct {
	User   string `arg:"" help:"Name of the user."`
	Policy string `arg:"" help:"Name of the policy."`
}

// Run detaches a policy.
func (p *policyRemoveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "DELETE", "/users/"+url.PathEscape(p.User)+"/policies/"+url.PathEscape(p.Policy), nil,
		"Policy %s removed from %s.", p.Policy, p.User)
}

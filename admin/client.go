package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrUnreachable means that no node answered at the address.
var ErrUnreachable = errors.New("cannot reach the node")

// A Client speaks to a node's admin address.
type Client struct {
	Address string // host:port
	Token   string
	HTTP    *http.Client // nil: http.DefaultClient
}

// maxAnswer bounds what a client reads, in bytes.
const maxAnswer = 64 << 20

// Do sends a request to a path under /v1 and decodes the answer into out
// (nil: ignored). in nil sends no body. A failure wraps the sentinel that the
// node's did; ErrUnreachable when nobody answers.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+"/v1"+path, body)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.Address, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w at %s (is `hallig start` running there? --admin-addr says where to look): %w", ErrUnreachable, c.Address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(text, &f) == nil && f.Error.Message != "" {
			return f.err()
		}
		return fmt.Errorf("%s does not answer like a Hallig node: %s %s", c.Address, resp.Status, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("decode the node's answer: %w", err)
	}
	return nil
}

package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A Webhook is a target that an administrator recorded.
type Webhook struct {
	Name string `json:"name"` // 1..64 of a–z, 0–9, - and _
	URL  string `json:"url"`  // http or https
	// Authorization, when set, is sent as the Authorization header.
	Authorization string `json:"authorization,omitempty"`
	// Secret, when set, signs each message: see Sign.
	Secret string `json:"secret,omitempty"`
}

// SignatureHeader carries a message's signature when the webhook has a secret.
const SignatureHeader = "X-Hallig-Signature"

// Sign returns the value of SignatureHeader: t=UNIX,v1=HEX, where HEX is
// HMAC-SHA256 of "UNIX." and the body under the secret.
func (w Webhook) Sign(at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(w.Secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// ValidName reports whether s can name a webhook.
func ValidName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// Webhooks is the administrator's record of targets, in the mesh's catalog.
type Webhooks struct{ records catalog.Records }

// NewWebhooks returns the record kept in records.
func NewWebhooks(records catalog.Records) *Webhooks { return &Webhooks{records} }

const webhookPrefix = "webhook/"

// Get returns a webhook, or ErrNotFound.
func (h *Webhooks) Get(ctx context.Context, name string) (Webhook, error) {
	r, err := h.records.Get(ctx, catalog.KindSetting, webhookPrefix+name)
	if err != nil {
		return Webhook{}, fmt.Errorf("webhook %s: %w", name, err)
	}
	var w Webhook
	if err := json.Unmarshal(r.Value, &w); err != nil {
		return Webhook{}, fmt.Errorf("webhook %s: %w: %w", name, hallig.ErrCorrupt, err)
	}
	return w, nil
}

// Put records a webhook, new or changed; ErrInvalid if it is no good.
func (h *Webhooks) Put(ctx context.Context, w Webhook) error {
	u, err := url.Parse(w.URL)
	switch {
	case !ValidName(w.Name):
		return fmt.Errorf("webhook %q: the name takes 1 to 64 of a-z, 0-9, - and _: %w", w.Name, hallig.ErrInvalid)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("webhook %s: the URL must begin with http:// or https://: %w", w.Name, hallig.ErrInvalid)
	case strings.ContainsAny(w.Authorization, "\r\n"):
		return fmt.Errorf("webhook %s: line break in the authorization: %w", w.Name, hallig.ErrInvalid)
	}
	v, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.Name, err)
	}
	return h.records.Update(ctx, catalog.Change{Kind: catalog.KindSetting, Name: webhookPrefix + w.Name, Value: v, Expect: catalog.AnyRevision})
}

// Delete forgets a webhook. Buckets that name it keep their configuration;
// their events for it are dropped.
func (h *Webhooks) Delete(ctx context.Context, name string) error {
	if _, err := h.Get(ctx, name); err != nil {
		return err
	}
	return h.records.Update(ctx, catalog.Change{Kind: catalog.KindSetting, Name: webhookPrefix + name, Delete: true, Expect: catalog.AnyRevision})
}

// List returns every webhook by name.
func (h *Webhooks) List(ctx context.Context) ([]Webhook, error) {
	var all []Webhook
	after := webhookPrefix
	for {
		page, err := h.records.Scan(ctx, catalog.KindSetting, after, 100)
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		for _, r := range page {
			if !strings.HasPrefix(r.Name, webhookPrefix) {
				return all, nil
			}
			var w Webhook
			if err := json.Unmarshal(r.Value, &w); err != nil {
				return nil, fmt.Errorf("%s: %w: %w", r.Name, hallig.ErrCorrupt, err)
			}
			all = append(all, w)
			after = r.Name
		}
		if len(page) < 100 {
			return all, nil
		}
	}
}

// post sends one message. Any 2xx is success; redirects are not followed.
func (w Webhook) post(ctx context.Context, client *http.Client, now time.Time, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Hallig")
	if w.Authorization != "" {
		req.Header.Set("Authorization", w.Authorization)
	}
	if w.Secret != "" {
		req.Header.Set(SignatureHeader, w.Sign(now, body))
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // nothing was written
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("answered %s", res.Status)
	}
	return nil
}

package website

import (
	"net/url"
	"strconv"
	"strings"
)

// A Request is what the decisions need of a website request.
type Request struct {
	Scheme string // http or https
	Host   string // as the client sent it, with the port
	Key    string // decoded path without its leading slash
	Query  string // raw
}

// A Move is a redirect to be answered.
type Move struct {
	Location string
	Code     int
}

// Before decides what needs no object: a redirect of everything, or a rule
// whose condition is the key's prefix alone (or that has none).
func (c Config) Before(q Request) (Move, bool) {
	if r := c.RedirectAll; r != nil {
		return q.move(Redirect{Protocol: r.Protocol, HostName: r.HostName}, ""), true
	}
	for _, r := range c.rules() {
		if r.Condition == nil || r.Condition.ErrorCode == "" && strings.HasPrefix(q.Key, r.Condition.KeyPrefix) {
			return q.move(*r.Redirect, r.prefix()), true
		}
	}
	return Move{}, false
}

// After decides, when reading gave an HTTP error, whether a rule redirects.
func (c Config) After(q Request, status int) (Move, bool) {
	for _, r := range c.rules() {
		if r.Condition != nil && r.Condition.ErrorCode == strconv.Itoa(status) && strings.HasPrefix(q.Key, r.Condition.KeyPrefix) {
			return q.move(*r.Redirect, r.prefix()), true
		}
	}
	return Move{}, false
}

// Object returns the key of the object that a request's key means.
func (c Config) Object(key string) string {
	if c.Index != nil && (key == "" || strings.HasSuffix(key, "/")) {
		return key + c.Index.Suffix
	}
	return key
}

// Directory returns the key of the index document below key, to be looked for
// when key itself is not there, and the redirect to answer when it is.
func (c Config) Directory(q Request) (index string, to Move, ok bool) {
	if c.Index == nil || q.Key == "" || strings.HasSuffix(q.Key, "/") {
		return "", Move{}, false
	}
	u := url.URL{Path: "/" + q.Key + "/", RawQuery: q.Query}
	if strings.HasPrefix(q.Key, "/") { // "//x/" alone would name another host
		u.Scheme, u.Host = q.Scheme, q.Host
	}
	return q.Key + "/" + c.Index.Suffix, Move{Location: u.String(), Code: 302}, true
}

func (r Rule) prefix() string {
	if r.Condition == nil {
		return ""
	}
	return r.Condition.KeyPrefix
}

// move builds the redirect of a rule that matched by prefix.
func (q Request) move(to Redirect, prefix string) Move {
	u := url.URL{Scheme: q.Scheme, Host: q.Host, Path: "/" + q.Key, RawQuery: q.Query}
	if to.Protocol != "" {
		u.Scheme = to.Protocol
	}
	if to.HostName != "" {
		u.Host = to.HostName
	}
	switch {
	case to.Key != nil:
		u.Path = "/" + *to.Key
	case to.KeyPrefix != nil:
		u.Path = "/" + *to.KeyPrefix + strings.TrimPrefix(q.Key, prefix)
	}
	m := Move{Location: u.String(), Code: 301}
	if n, err := strconv.Atoi(to.Code); err == nil {
		m.Code = n
	}
	return m
}

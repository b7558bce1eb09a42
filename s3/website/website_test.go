package website

import (
	"errors"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

func doc(s string) []byte {
	return []byte(`<WebsiteConfiguration xmlns="` + subresource.Namespace + `">` + s + `</WebsiteConfiguration>`)
}

const index = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>"

func rules(r ...string) string {
	return index + "<RoutingRules><RoutingRule>" + strings.Join(r, "</RoutingRule><RoutingRule>") + "</RoutingRule></RoutingRules>"
}

func TestParseRefusals(t *testing.T) {
	to := "<Redirect><HostName>h</HostName></Redirect>"
	for _, tt := range []struct{ in, code, message string }{
		{"", "InvalidArgument", "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty"},
		{"<IndexDocument><Suffix></Suffix></IndexDocument>", "InvalidArgument", "The IndexDocument Suffix is not well formed"},
		{"<IndexDocument><Suffix>/i</Suffix></IndexDocument>", "InvalidArgument", "The IndexDocument Suffix is not well formed"},
		{index + "<ErrorDocument><Key/></ErrorDocument>", "InvalidArgument", "The ErrorDocument Key is not well formed"},
		{index + "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>", "MalformedXML", ""},
		{"<RedirectAllRequestsTo><HostName>h</HostName><Protocol>ftp</Protocol></RedirectAllRequestsTo>", "InvalidRequest",
			"Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically."},
		{rules("<Condition/>" + to), "MalformedXML", ""},
		{rules("<Redirect/>"), "MalformedXML", ""},
		{rules("<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>"), "InvalidRequest",
			"You can only define ReplaceKeyPrefix or ReplaceKey but not both."},
		{rules("<Redirect><HttpRedirectCode>306</HttpRedirectCode></Redirect>"), "InvalidRequest",
			"The provided HTTP redirect code (306) is not valid. Valid codes are 3XX except 300."},
		{rules("<Redirect><HttpRedirectCode>3xx</HttpRedirectCode></Redirect>"), "MalformedXML", ""},
		{rules("<Condition><HttpErrorCodeReturnedEquals>418</HttpErrorCodeReturnedEquals></Condition>" + to), "InvalidRequest",
			"The provided HTTP error code (418) is not valid. Valid codes are 4XX or 5XX."},
		{rules(strings.Split(strings.Repeat(to+"|", 50)+to, "|")...), "InvalidRequest",
			"51 routing rules provided, the number of routing rules in a website configuration is limited to 50."},
		{"<!-- " + strings.Repeat("x", MaxBytes) + " -->" + index, "MaxMessageLengthExceeded", "Your request was too big."},
	} {
		_, err := Parse(doc(tt.in))
		var e *subresource.Error
		if !errors.As(err, &e) || e.Code != tt.code || tt.message != "" && e.Message != tt.message {
			t.Errorf("%.90s: got %v", tt.in, err)
		}
	}
}

func TestRoutes(t *testing.T) {
	c, err := Parse(doc(rules(
		"<Condition><KeyPrefixEquals>legacy/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>docs/</ReplaceKeyPrefixWith></Redirect>",
		"<Condition><KeyPrefixEquals>gone/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith/><HttpRedirectCode>302</HttpRedirectCode></Redirect>",
		"<Condition><KeyPrefixEquals>old/</KeyPrefixEquals><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect><ReplaceKeyWith>a b.html</ReplaceKeyWith><HttpRedirectCode>307</HttpRedirectCode></Redirect>",
		"<Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect><Protocol>https</Protocol><HostName>f.example</HostName></Redirect>",
	)))
	if err != nil {
		t.Fatal(err)
	}
	q := func(key string) Request { return Request{Scheme: "http", Host: "b.site:80", Key: key, Query: "r=1"} }
	for key, want := range map[string]Move{
		"legacy/p.html": {"http://b.site:80/docs/p.html?r=1", 301},
		"gone/x":        {"http://b.site:80/x?r=1", 302},
		"old/x":         {},
		"":              {},
	} {
		m, ok := c.Before(q(key))
		if m != want || ok != (want != Move{}) {
			t.Errorf("before %q: %+v %v, want %+v", key, m, ok, want)
		}
	}
	for key, want := range map[string]Move{
		"old/x":   {"http://b.site:80/a%20b.html?r=1", 307},
		"other/é": {"https://f.example/other/%C3%A9?r=1", 301},
	} {
		if m, ok := c.After(q(key), 404); m != want || !ok {
			t.Errorf("after %q: %+v, want %+v", key, m, want)
		}
		if m, ok := c.After(q(key), 403); ok {
			t.Errorf("after %q with 403: %+v, want none", key, m)
		}
	}
	for in, want := range map[string]string{"": "index.html", "docs/": "docs/index.html", "docs": "docs"} {
		if got := c.Object(in); got != want {
			t.Errorf("Object(%q) = %q, want %q", in, got, want)
		}
	}
	index, to, ok := c.Directory(q("a dir"))
	if !ok || index != "a dir/index.html" || to != (Move{"/a%20dir/?r=1", 302}) {
		t.Errorf("Directory: %q %+v %v", index, to, ok)
	}
	if _, to, _ := c.Directory(q("/evil.example")); to.Location != "http://b.site:80//evil.example/?r=1" {
		t.Errorf("a key that looks like a host: %+v", to)
	}
	all, err := Parse(doc("<RedirectAllRequestsTo><HostName>w.example</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>"))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := all.Before(q("any/path")); m != (Move{"https://w.example/any/path?r=1", 301}) {
		t.Errorf("redirect all: %+v", m)
	}
}

func TestPageEscapes(t *testing.T) {
	p := Problem{Status: 404, Code: "NoSuchKey", Message: "m", Fields: [][2]string{{"Key", "<script>"}}, Request: "r", Host: "h"}
	page := string(p.Page())
	if strings.Contains(page, "<script>") || !strings.Contains(page, "<li>Key: &lt;script&gt;</li>") {
		t.Error(page)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(doc(index))
	f.Add(doc(rules("<Redirect><ReplaceKeyWith>a</ReplaceKeyWith></Redirect>")))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil && len(out) <= MaxBytes {
			t.Fatalf("what was written does not parse: %v\n%s", err, out)
		}
		c.Before(Request{Key: "k"})
		c.After(Request{Key: "k"}, 404)
	})
}

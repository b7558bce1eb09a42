package cors

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

func doc(rules string) []byte {
	return []byte(`<CORSConfiguration xmlns="` + subresource.Namespace + `">` + rules + `</CORSConfiguration>`)
}

const three = `
<CORSRule><AllowedOrigin>http://example.com</AllowedOrigin><AllowedOrigin>https://example.com</AllowedOrigin>
 <AllowedMethod>GET</AllowedMethod><AllowedMethod>HEAD</AllowedMethod>
 <AllowedHeader>X-Amz-Date</AllowedHeader><AllowedHeader>X-Amz-Content-Sha256</AllowedHeader>
 <ExposeHeader>Content-Type</ExposeHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>100</MaxAgeSeconds></CORSRule>
<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>HEAD</AllowedMethod><AllowedHeader>X-Amz-Meta-*</AllowedHeader></CORSRule>
<CORSRule><ID>i</ID><AllowedOrigin>http://www*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod></CORSRule>`

func TestPreflight(t *testing.T) {
	c, err := Parse(doc(three))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		origin, method, headers string
		want                    map[string]string // nil: no rule
	}{
		{"http://example.com", "GET", "X-Amz-Date", map[string]string{
			"Access-Control-Allow-Origin": "http://example.com", "Access-Control-Allow-Methods": "GET, HEAD",
			"Access-Control-Allow-Headers": "x-amz-date", "Access-Control-Expose-Headers": "Content-Type, ETag",
			"Access-Control-Max-Age": "100", "Access-Control-Allow-Credentials": "true", "Vary": Vary}},
		{"https://example.com", "GET", "x-amz-date, X-AMZ-content-sha256", map[string]string{
			"Access-Control-Allow-Headers": "x-amz-date, x-amz-content-sha256"}},
		{"hello.com", "HEAD", "", map[string]string{
			"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "HEAD",
			"Access-Control-Allow-Headers": "", "Access-Control-Expose-Headers": "",
			"Access-Control-Max-Age": "", "Access-Control-Allow-Credentials": ""}},
		{"hello.com", "HEAD", "x-amz-meta-anything", map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"http://www.example.org", "PUT", "", map[string]string{"Access-Control-Allow-Origin": "http://www.example.org"}},
		{"http://example.com", "PUT", "", nil},
		{"http://example.com", "GET", "x-other", nil},
		{"http://example.com", "GET", "x-amz-date,x-other", nil},
		{"http://example.com.evil.org", "GET", "", nil},
		{"HTTP://EXAMPLE.COM", "GET", "", nil},
	} {
		h := http.Header{}
		h.Set("Origin", tt.origin)
		h.Set("Access-Control-Request-Method", tt.method)
		h.Set("Access-Control-Request-Headers", tt.headers)
		p, err := ParsePreflight(h)
		if err != nil {
			t.Fatalf("%+v: %v", tt, err)
		}
		r, ok := c.Match(p)
		if ok != (tt.want != nil) {
			t.Errorf("%s %s %s: allowed %v", tt.origin, tt.method, tt.headers, ok)
			continue
		}
		if !ok {
			continue
		}
		out := http.Header{}
		r.Answer(out, p.Origin, p.Headers)
		for k, v := range tt.want {
			if out.Get(k) != v {
				t.Errorf("%s %s %s: %s is %q, want %q", tt.origin, tt.method, tt.headers, k, out.Get(k), v)
			}
		}
	}
}

func TestPreflightRefusals(t *testing.T) {
	for _, tt := range []struct{ origin, method, headers, want string }{
		{"", "GET", "", "Insufficient information. Origin request header needed."},
		{"o", "get", "", "Invalid Access-Control-Request-Method: get"},
		{"o", "PATCH", "", "Invalid Access-Control-Request-Method: PATCH"},
		{"o", "", "", "Invalid Access-Control-Request-Method: "},
		{"o", "GET", "A, Bad/Header", `Access-Control-Request-Headers " Bad/Header" contains invalid character.`},
		{"o", "GET", "A,NonAsciiŁ", `Access-Control-Request-Headers "NonAsciiŁ" contains invalid character.`},
		{"o", "GET", "*", `Access-Control-Request-Headers "*" contains invalid character.`},
	} {
		h := http.Header{"Origin": {tt.origin}, "Access-Control-Request-Method": {tt.method},
			"Access-Control-Request-Headers": {tt.headers}}
		_, err := ParsePreflight(h)
		var e *subresource.Error
		if !errors.As(err, &e) || e.Code != "BadRequest" || e.Message != tt.want {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}

func TestParseRefusals(t *testing.T) {
	rule := func(s string) string {
		return "<CORSRule><AllowedOrigin>o</AllowedOrigin><AllowedMethod>GET</AllowedMethod>" + s + "</CORSRule>"
	}
	for in, want := range map[string]string{
		"": "MalformedXML",
		"<CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>": "MalformedXML",
		"<CORSRule><AllowedOrigin>o</AllowedOrigin></CORSRule>":   "MalformedXML",
		rule("<Foo/>"):                               "MalformedXML",
		rule("<MaxAgeSeconds>x</MaxAgeSeconds>"):     "MalformedXML",
		rule("<AllowedMethod>PATCH</AllowedMethod>"): "InvalidRequest",
		rule("<AllowedOrigin>*a*</AllowedOrigin>"):   "InvalidRequest",
		rule("<AllowedHeader>a b</AllowedHeader>"):   "InvalidRequest",
		rule("<AllowedHeader>*a*</AllowedHeader>"):   "InvalidRequest",
		rule("<ExposeHeader>*</ExposeHeader>"):       "InvalidRequest",
		strings.Repeat(rule(""), MaxRules+1):         "MalformedXML",
		"<CORSRule><AllowedOrigin>" + strings.Repeat("x", MaxBytes) + "</AllowedOrigin></CORSRule>": "MaxMessageLengthExceeded",
	} {
		_, err := Parse(doc(in))
		var e *subresource.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("%.80s: got %v, want %s", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(doc(three))
	f.Add([]byte("<CORSConfiguration/>"))
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
	})
}

package cors

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// Vary is the Vary header of every answer that the configuration decided.
const Vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

// A Preflight is what an OPTIONS request asks.
type Preflight struct {
	Origin  string
	Method  string   // Access-Control-Request-Method
	Headers []string // Access-Control-Request-Headers, in lower case
}

// ParsePreflight reads the request's headers. A missing Origin, a method that
// S3 does not know and a header name with a foreign character are BadRequest.
func ParsePreflight(h http.Header) (Preflight, error) {
	p := Preflight{Origin: h.Get("Origin"), Method: h.Get("Access-Control-Request-Method")}
	if p.Origin == "" {
		return p, badPreflight("Insufficient information. Origin request header needed.")
	}
	if !ValidMethod(p.Method) {
		return p, badPreflight("Invalid Access-Control-Request-Method: " + p.Method)
	}
	list := strings.Join(h.Values("Access-Control-Request-Headers"), ",")
	if list == "" {
		return p, nil
	}
	for _, raw := range strings.Split(list, ",") {
		name := strings.Trim(raw, " ")
		if name == "" {
			continue
		}
		if !validHeader(name, false) {
			return p, badPreflight(`Access-Control-Request-Headers "` + raw + `" contains invalid character.`)
		}
		p.Headers = append(p.Headers, strings.ToLower(name))
	}
	return p, nil
}

func badPreflight(message string) error {
	return &subresource.Error{Code: "BadRequest", Message: message, Status: 400}
}

// Match returns the first rule that allows the preflight.
func (c Config) Match(p Preflight) (Rule, bool) {
	for _, r := range c.Rules {
		if r.allowsOrigin(p.Origin) && slices.Contains(r.AllowedMethods, p.Method) && r.allowsHeaders(p.Headers) {
			return r, true
		}
	}
	return Rule{}, false
}

// MatchActual returns the first rule for an actual request of the method from
// the origin.
func (c Config) MatchActual(origin, method string) (Rule, bool) {
	return c.Match(Preflight{Origin: origin, Method: method})
}

func (r Rule) allowsOrigin(origin string) bool {
	return slices.ContainsFunc(r.AllowedOrigins, func(o string) bool { return wild(o, origin) })
}

func (r Rule) allowsHeaders(names []string) bool {
	for _, n := range names {
		if !slices.ContainsFunc(r.AllowedHeaders, func(h string) bool { return wild(strings.ToLower(h), n) }) {
			return false
		}
	}
	return true
}

// wild matches a pattern with at most one star.
func wild(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// Answer sets the headers of an answer that rule r allows. headers are those
// asked for by a preflight. A bare star in AllowedOrigins is answered with a
// star and without credentials, anything else with the origin itself.
func (r Rule) Answer(h http.Header, origin string, headers []string) {
	if slices.Contains(r.AllowedOrigins, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(r.AllowedMethods, ", "))
	if len(headers) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(headers, ", "))
	}
	if len(r.ExposeHeaders) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(r.ExposeHeaders, ", "))
	}
	if r.MaxAgeSeconds != nil && *r.MaxAgeSeconds >= 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(*r.MaxAgeSeconds))
	}
	h.Set("Vary", Vary)
}

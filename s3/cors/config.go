package cors

import (
	"strings"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// Limits of a configuration.
const (
	MaxBytes = 64 << 10 // of the document
	MaxRules = 100
)

// A Config is a bucket's CORS configuration.
type Config struct {
	Rules []Rule `xml:"CORSRule"`
}

// A Rule allows requests of some origins.
type Rule struct {
	ID             string   `xml:"ID,omitempty"`
	AllowedHeaders []string `xml:"AllowedHeader"` // of Access-Control-Request-Headers; one * each
	AllowedMethods []string `xml:"AllowedMethod"` // GET, PUT, HEAD, POST, DELETE
	AllowedOrigins []string `xml:"AllowedOrigin"` // one * each
	ExposeHeaders  []string `xml:"ExposeHeader"`
	MaxAgeSeconds  *int     `xml:"MaxAgeSeconds"`
}

// Parse reads and checks a CORSConfiguration document.
func Parse(data []byte) (Config, error) {
	var c Config
	if len(data) > MaxBytes {
		return Config{}, tooLong()
	}
	if err := subresource.Unmarshal(data, "CORSConfiguration", &c); err != nil {
		return Config{}, err
	}
	if len(c.Rules) == 0 || len(c.Rules) > MaxRules {
		return Config{}, subresource.Malformed()
	}
	for _, r := range c.Rules {
		if err := r.check(); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

func tooLong() error {
	return &subresource.Error{
		Code: "MaxMessageLengthExceeded", Message: "Your request was too big.", Status: 400,
		Fields: []subresource.Field{{Name: "MaxMessageLengthBytes", Value: "65536"}},
	}
}

// Encode writes the configuration as a document.
func (c Config) Encode() ([]byte, error) {
	return subresource.Marshal("CORSConfiguration", c)
}

func (r Rule) check() error {
	if len(r.AllowedOrigins) == 0 || len(r.AllowedMethods) == 0 || len(r.ID) > 255 {
		return subresource.Malformed()
	}
	for _, o := range r.AllowedOrigins {
		if strings.Count(o, "*") > 1 {
			return subresource.BadRequest(`AllowedOrigin "%s" can not have more than one wildcard.`, o)
		}
	}
	for _, m := range r.AllowedMethods {
		if !ValidMethod(m) {
			return subresource.BadRequest("Found unsupported HTTP method in CORS config. Unsupported method is %s", m)
		}
	}
	for _, h := range r.AllowedHeaders {
		if strings.Count(h, "*") > 1 {
			return subresource.BadRequest(`AllowedHeader "%s" can not have more than one wildcard.`, h)
		}
		if !validHeader(h, true) {
			return subresource.BadRequest(`AllowedHeader "%s" contains invalid character.`, h)
		}
	}
	for _, h := range r.ExposeHeaders {
		if strings.Contains(h, "*") {
			return subresource.BadRequest(`ExposeHeader "%s" contains wildcard. We currently do not support wildcard for ExposeHeader.`, h)
		}
		if !validHeader(h, false) {
			return subresource.BadRequest(`AllowedHeader "%s" contains invalid character.`, h)
		}
	}
	return nil
}

// ValidMethod reports whether m is a method that a rule can allow.
func ValidMethod(m string) bool {
	switch m {
	case "GET", "PUT", "HEAD", "POST", "DELETE":
		return true
	}
	return false
}

// validHeader checks for the characters of an HTTP field name (RFC 9110
// section 5.6.2), which "*" is one of.
func validHeader(h string, wildcard bool) bool {
	if h == "" {
		return false
	}
	for i := range len(h) {
		c := h[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '*':
			if !wildcard {
				return false
			}
		case strings.IndexByte("!#$%&'+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

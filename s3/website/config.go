package website

import (
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// Limits of a configuration.
const (
	MaxBytes = 128 << 10 // of the document
	MaxRules = 50
)

// A Config is a bucket's website configuration: either RedirectAll, or Index
// and what goes with it.
type Config struct {
	RedirectAll *RedirectAll   `xml:"RedirectAllRequestsTo"`
	Index       *IndexDocument `xml:"IndexDocument"`
	Error       *ErrorDocument `xml:"ErrorDocument"`
	Rules       *RoutingRules  `xml:"RoutingRules"`
}

// RedirectAll sends every request to another host.
type RedirectAll struct {
	HostName string `xml:"HostName"`
	Protocol string `xml:"Protocol,omitempty"` // http, https; "" is the request's
}

// IndexDocument names the object that stands for a directory.
type IndexDocument struct {
	Suffix string `xml:"Suffix"` // no slash
}

// ErrorDocument names the object that is shown for errors of class 4xx.
type ErrorDocument struct {
	Key string `xml:"Key"`
}

// RoutingRules are tried in order.
type RoutingRules struct {
	Rules []Rule `xml:"RoutingRule"`
}

// A Rule redirects requests that meet a condition; none is met by all.
type Rule struct {
	Condition *Condition `xml:"Condition"`
	Redirect  *Redirect  `xml:"Redirect"`
}

// A Condition holds when every given part of it does.
type Condition struct {
	ErrorCode string `xml:"HttpErrorCodeReturnedEquals,omitempty"`
	KeyPrefix string `xml:"KeyPrefixEquals,omitempty"`
}

// A Redirect says where to; what is not given stays as in the request.
type Redirect struct {
	Protocol  string  `xml:"Protocol,omitempty"`
	HostName  string  `xml:"HostName,omitempty"`
	KeyPrefix *string `xml:"ReplaceKeyPrefixWith"`
	Key       *string `xml:"ReplaceKeyWith"`
	Code      string  `xml:"HttpRedirectCode,omitempty"` // "" is 301
}

// Parse reads and checks a WebsiteConfiguration document.
func Parse(data []byte) (Config, error) {
	var c Config
	if len(data) > MaxBytes {
		return Config{}, &subresource.Error{
			Code: "MaxMessageLengthExceeded", Message: "Your request was too big.", Status: 400,
			Fields: []subresource.Field{{Name: "MaxMessageLengthBytes", Value: strconv.Itoa(MaxBytes)}},
		}
	}
	if err := subresource.Unmarshal(data, "WebsiteConfiguration", &c); err != nil {
		return Config{}, err
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Encode writes the configuration as a document.
func (c Config) Encode() ([]byte, error) {
	return subresource.Marshal("WebsiteConfiguration", c)
}

func (c Config) check() error {
	if r := c.RedirectAll; r != nil {
		if c.Index != nil || c.Error != nil || c.Rules != nil || r.HostName == "" {
			return subresource.Malformed()
		}
		return checkProtocol(r.Protocol)
	}
	if c.Index == nil {
		return subresource.BadArgument("A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty", "IndexDocument", "null")
	}
	if s := c.Index.Suffix; s == "" || strings.Contains(s, "/") {
		return subresource.BadArgument("The IndexDocument Suffix is not well formed", "IndexDocument", s)
	}
	if c.Error != nil && c.Error.Key == "" {
		return subresource.BadArgument("The ErrorDocument Key is not well formed", "ErrorDocument", "")
	}
	rules := c.rules()
	if len(rules) > MaxRules {
		return subresource.BadRequest("%d routing rules provided, the number of routing rules in a website configuration is limited to %d.", len(rules), MaxRules)
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) rules() []Rule {
	if c.Rules == nil {
		return nil
	}
	return c.Rules.Rules
}

func (r Rule) check() error {
	to := r.Redirect
	if to == nil || *to == (Redirect{}) {
		return subresource.Malformed()
	}
	if c := r.Condition; c != nil {
		if *c == (Condition{}) {
			return subresource.Malformed()
		}
		if err := checkErrorCode(c.ErrorCode); err != nil {
			return err
		}
	}
	if to.Key != nil && to.KeyPrefix != nil {
		return subresource.BadRequest("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
	}
	if err := checkProtocol(to.Protocol); err != nil {
		return err
	}
	return checkRedirectCode(to.Code)
}

func checkProtocol(p string) error {
	if p == "" || p == "http" || p == "https" {
		return nil
	}
	return subresource.BadRequest("Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.")
}

func checkErrorCode(s string) error {
	if s == "" {
		return nil
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return subresource.Malformed()
	case n >= 400 && n <= 417, n >= 500 && n <= 505:
		return nil
	}
	return subresource.BadRequest("The provided HTTP error code (%d) is not valid. Valid codes are 4XX or 5XX.", n)
}

func checkRedirectCode(s string) error {
	if s == "" {
		return nil
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return subresource.Malformed()
	case n >= 301 && n <= 308 && n != 306:
		return nil
	}
	return subresource.BadRequest("The provided HTTP redirect code (%d) is not valid. Valid codes are 3XX except 300.", n)
}

package s3

import (
	"encoding/base64"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// maxListed bounds the entries of one page.
const maxListed = 1000

// listParams are the parameters that all lists share.
type listParams struct {
	prefix    string
	delimiter string
	encoding  string // "url" or ""
	limit     int    // as answered: at most maxListed; may be 0
}

// parseListParams reads prefix, delimiter, encoding-type and the limit, whose
// parameter has its own name.
func parseListParams(query url.Values, limitName string) (listParams, error) {
	p := listParams{prefix: query.Get("prefix"), delimiter: query.Get("delimiter")}
	for _, name := range []string{"prefix", "delimiter", "marker", "start-after", "key-marker"} {
		if v := query.Get(name); !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return p, fail("InvalidURI")
		}
	}
	switch v := query.Get("encoding-type"); v {
	case "":
	case "url":
		p.encoding = v
	default:
		return p, invalidArgument("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
	var err error
	p.limit, err = parseLimit(query, limitName)
	return p, err
}

// parseLimit reads max-keys and its kin: 0 to 2147483647, cut to maxListed.
func parseLimit(query url.Values, name string) (int, error) {
	if query.Get(name) == "" {
		return maxListed, nil
	}
	n, err := parseCount(query, name)
	return min(n, maxListed), err
}

// parseCount reads a non-negative 32-bit parameter; 0 if absent.
func parseCount(query url.Values, name string) (int, error) {
	s := query.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, invalidArgument(name, s, "Provided "+s+" not an integer or within integer range")
	}
	if n < 0 {
		return 0, invalidArgument(name, s, "Argument "+s+" must be an integer between 0 and "+itoa(math.MaxInt32))
	}
	return int(n), nil
}

// text encodes a key, prefix or marker as the request asked.
func (p listParams) text(s string) string {
	if p.encoding != "url" {
		return s
	}
	return string(appendURL(nil, s))
}

// query returns the catalog's query.
func (p listParams) query(what catalog.What, after catalog.Marker) catalog.Query {
	return catalog.Query{What: what, Prefix: p.prefix, Delimiter: p.delimiter, After: after, Limit: p.limit}
}

// commonPrefix is an element of a list.
type commonPrefix struct{ Prefix string }

// owner is who owns or began something.
type owner struct {
	ID          string
	DisplayName string `xml:",omitempty"`
}

// tokens are opaque to clients: the key behind which to go on, with a version
// so that the form can change.
const tokenForm = 1

func encodeToken(key string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{tokenForm}, key...))
}

func decodeToken(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 1 || b[0] != tokenForm || !utf8.Valid(b[1:]) {
		return "", invalidArgument("continuation-token", token, "The continuation token provided is incorrect")
	}
	return string(b[1:]), nil
}

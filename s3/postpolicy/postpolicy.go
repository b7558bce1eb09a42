// Package postpolicy parses and enforces the policy documents of POST uploads:
// what a form may contain, and until when.
//
// Source: "Creating a POST policy" and "Browser-Based Uploads Using POST" in
// the S3 API Reference; error messages as S3 words them.
package postpolicy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/s3/sigv4"
)

// A Policy is a parsed policy document.
type Policy struct {
	Expiration time.Time
	conditions []condition
	min, max   int64 // of the file's length
}

// A condition is one demand on one field.
type condition struct {
	prefix bool   // starts-with; else eq
	field  string // in lower case; "" can match nothing
	value  string
	text   string // as the error shows it
}

// Bounds of a document.
const (
	maxDocument   = 20 << 10 // bytes before base64, as S3's limit of a form without its file
	maxConditions = 1000
)

func invalid(format string, args ...any) *sigv4.Error {
	return &sigv4.Error{Code: "InvalidPolicyDocument", Message: "Invalid Policy: " + fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

func refused(format string, args ...any) *sigv4.Error {
	return &sigv4.Error{Code: "AccessDenied", Message: "Invalid according to Policy: " + fmt.Sprintf(format, args...), Status: http.StatusForbidden}
}

// Parse reads the form's policy field, base64 as it came. What is wrong is a
// *sigv4.Error with the code InvalidPolicyDocument. Parse does not look at the
// clock.
func Parse(field string) (*Policy, error) {
	if len(field) > base64.StdEncoding.EncodedLen(maxDocument) {
		return nil, &sigv4.Error{Code: "MaxPostPreDataLengthExceeded", Status: http.StatusBadRequest,
			Message: "Your POST request fields preceding the upload file were too large."}
	}
	document, err := decode(field)
	if err != nil {
		return nil, invalid("invalid Base64 encoding.")
	}
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, invalid("Expecting '{' but found End-of-Input")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil || members == nil {
		return nil, invalid("Invalid JSON.")
	}
	for name := range members {
		if name != "expiration" && name != "conditions" {
			return nil, invalid("Unexpected: %q", name)
		}
	}
	p := &Policy{max: math.MaxInt64}
	if err := p.parseExpiration(members["expiration"]); err != nil {
		return nil, err
	}
	return p, p.parseConditions(members["conditions"])
}

// decode accepts base64 with and without padding, and with line ends in it.
func decode(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.RawStdEncoding.DecodeString(s) //nolint:wrapcheck // the caller words it
}

func (p *Policy) parseExpiration(raw json.RawMessage) error {
	if raw == nil {
		return invalid("Policy missing expiration.")
	}
	var s string
	if !isString(raw) || json.Unmarshal(raw, &s) != nil {
		return invalid("Invalid JSON.")
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return invalid("Invalid 'expiration' value: '%s'", s[:min(len(s), 256)])
	}
	p.Expiration = t
	return nil
}

func isString(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

func (p *Policy) parseConditions(raw json.RawMessage) error {
	if raw == nil {
		return invalid("Policy missing conditions.")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return invalid("Invalid 'conditions' value: must be a List.")
	}
	if len(list) > maxConditions {
		return invalid("Invalid 'conditions' value: too many conditions.")
	}
	for _, c := range list {
		var err error
		switch c[0] {
		case '{':
			err = p.parseSimple(c)
		case '[':
			err = p.parseList(c)
		default:
			err = invalid("Invalid condition test: must be a List or Object.")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseSimple reads {"field": "value"}.
func (p *Policy) parseSimple(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return invalid("Invalid JSON.")
	}
	if len(members) != 1 {
		return invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
	}
	for name, v := range members {
		var value string
		if !isString(v) || json.Unmarshal(v, &value) != nil {
			return invalid("Invalid Simple-Condition: value must be a string.")
		}
		p.conditions = append(p.conditions, condition{field: strings.ToLower(name), value: value,
			text: fmt.Sprintf(`["eq", "$%s", %s]`, name, v)})
	}
	return nil
}

// parseList reads ["eq", "$field", "value"] and its kin.
func (p *Policy) parseList(raw json.RawMessage) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return invalid("Invalid JSON.")
	}
	if len(items) == 0 {
		return invalid("Invalid Condition: missing operation identifier.")
	}
	var op string
	if !isString(items[0]) || json.Unmarshal(items[0], &op) != nil {
		return invalid("Invalid JSON.")
	}
	kind := strings.ToLower(op)
	if kind != "eq" && kind != "starts-with" && kind != "content-length-range" {
		return invalid("Invalid Condition: unknown operation '%s'.", op[:min(len(op), 64)])
	}
	if len(items) != 3 {
		return invalid("Invalid %s: wrong number of arguments.", op)
	}
	if kind == "content-length-range" {
		return p.parseRange(items[1], items[2])
	}
	var field, value string
	if !isString(items[1]) || !isString(items[2]) || json.Unmarshal(items[1], &field) != nil || json.Unmarshal(items[2], &value) != nil {
		return invalid("Invalid JSON.")
	}
	c := condition{prefix: kind == "starts-with", value: value, text: string(raw)}
	if name, ok := strings.CutPrefix(field, "$"); ok {
		c.field = strings.ToLower(name)
	}
	p.conditions = append(p.conditions, c)
	return nil
}

// parseRange narrows the file's length; several ranges all hold.
func (p *Policy) parseRange(low, high json.RawMessage) error {
	from, err1 := number(low)
	to, err2 := number(high)
	if err := errors.Join(err1, err2); err != nil {
		return invalid("Invalid JSON.")
	}
	p.min, p.max = max(p.min, from), min(p.max, to)
	return nil
}

// number reads a whole number, or a string of one.
func number(raw json.RawMessage) (int64, error) {
	s := string(raw)
	if isString(raw) {
		if err := json.Unmarshal(raw, &s); err != nil {
			return 0, err //nolint:wrapcheck // the caller words it
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err //nolint:wrapcheck // the caller words it
}

// Check decides whether a form keeps to the policy at now: not expired, every
// condition met, and every field covered by one. form has its names in lower
// case; bucket is the one that the request addresses, whatever a field says.
// The file's length is left to CheckLength. A refusal is a *sigv4.Error with
// the code AccessDenied.
func (p *Policy) Check(form sigv4.Form, bucket string, now time.Time) error {
	if !now.Before(p.Expiration) {
		return refused("Policy expired.")
	}
	value := func(field string) string {
		if field == "bucket" {
			return bucket
		}
		return form[field]
	}
	covered := make(map[string]bool, len(p.conditions))
	for _, c := range p.conditions {
		if c.field == "" || !c.met(value(c.field)) {
			return refused("Policy Condition failed: %s", c.text)
		}
		covered[c.field] = true
	}
	if given, ok := form["bucket"]; ok && given != bucket {
		return refused("Policy Condition failed: [\"eq\", \"$bucket\", %q]", bucket)
	}
	var extra []string
	for name := range form {
		if !covered[name] && !exempt(name) {
			extra = append(extra, name)
		}
	}
	if !covered["bucket"] && form["bucket"] == "" {
		extra = append(extra, "bucket")
	}
	if len(extra) > 0 {
		return refused("Extra input fields: %s", smallest(extra))
	}
	return nil
}

// smallest picks one name, always the same.
func smallest(names []string) string {
	s := names[0]
	for _, n := range names[1:] {
		s = min(s, n)
	}
	return s
}

// exempt names need no condition.
func exempt(name string) bool {
	switch name {
	case "policy", "x-amz-signature", "signature", "awsaccesskeyid", "file":
		return true
	}
	return strings.HasPrefix(name, "x-ignore-")
}

// met decides one condition. Content types may be a list, every member of
// which must meet a starts-with.
func (c *condition) met(value string) bool {
	if !c.prefix {
		return value == c.value
	}
	if c.field != "content-type" {
		return strings.HasPrefix(value, c.value)
	}
	for part := range strings.SplitSeq(value, ",") {
		if !strings.HasPrefix(strings.TrimSpace(part), c.value) {
			return false
		}
	}
	return true
}

// LengthRange returns the least and the greatest length of the file.
func (p *Policy) LengthRange() (least, greatest int64) { return p.min, p.max }

// CheckLength decides the file's length: EntityTooSmall or EntityTooLarge.
func (p *Policy) CheckLength(n int64) error {
	proposed := sigv4.Field{Name: "ProposedSize", Value: strconv.FormatInt(n, 10)}
	switch {
	case n < p.min:
		return &sigv4.Error{Code: "EntityTooSmall", Message: "Your proposed upload is smaller than the minimum allowed size", Status: http.StatusBadRequest,
			Fields: []sigv4.Field{proposed, {Name: "MinSizeAllowed", Value: strconv.FormatInt(p.min, 10)}}}
	case n > p.max:
		return &sigv4.Error{Code: "EntityTooLarge", Message: "Your proposed upload exceeds the maximum allowed object size.", Status: http.StatusBadRequest,
			Fields: []sigv4.Field{proposed, {Name: "MaxSizeAllowed", Value: strconv.FormatInt(p.max, 10)}}}
	}
	return nil
}

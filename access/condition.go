package access

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Condition is one operator, one key and its values.
type Condition struct {
	Operator string // as written
	Key      string // as written
	Values   []string

	base      string // the operator without qualifier and suffix
	set       string // "ForAnyValue", "ForAllValues" or ""
	ifExists  bool
	key       string // in lower case
	otherwise bool   // the operator is the negation of base
}

// operators maps an operator to what it negates, itself if nothing.
func operators() map[string]string {
	m := make(map[string]string)
	for name := range strings.FieldsSeq(`StringEquals StringEqualsIgnoreCase StringLike NumericEquals NumericLessThan NumericLessThanEquals
		NumericGreaterThan NumericGreaterThanEquals DateEquals DateLessThan DateLessThanEquals DateGreaterThan DateGreaterThanEquals
		Bool BinaryEquals IpAddress ArnEquals ArnLike Null`) {
		m[name] = name
	}
	for not, name := range map[string]string{"StringNotEquals": "StringEquals", "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
		"StringNotLike": "StringLike", "NumericNotEquals": "NumericEquals", "DateNotEquals": "DateEquals", "NotIpAddress": "IpAddress",
		"ArnNotEquals": "ArnEquals", "ArnNotLike": "ArnLike"} {
		m[not] = name
	}
	return m
}

// parseConditions reads {"operator": {"key": value or list}}.
func parseConditions(v any) ([]Condition, error) {
	blocks, ok := v.(object)
	if !ok {
		return nil, malformedPolicy("This policy contains invalid Json")
	}
	known := operators()
	var list []Condition
	for _, block := range blocks {
		c := Condition{Operator: block.name, base: block.name}
		if set, rest, found := strings.Cut(c.base, ":"); found {
			if set != "ForAnyValue" && set != "ForAllValues" {
				return nil, malformedPolicy("Invalid Condition type : " + clip(block.name))
			}
			c.set, c.base = set, rest
		}
		if rest, found := strings.CutSuffix(c.base, "IfExists"); found && rest != "Null" {
			c.ifExists, c.base = true, rest
		}
		positive, ok := known[c.base]
		if !ok {
			return nil, malformedPolicy("Invalid Condition type : " + clip(block.name))
		}
		c.otherwise, c.base = positive != c.base, positive
		keys, ok := block.value.(object)
		if !ok {
			return nil, malformedPolicy("This policy contains invalid Json")
		}
		for _, k := range keys {
			if c.Values, ok = conditionValues(k.value); !ok {
				return nil, malformedPolicy("This policy contains invalid Json")
			}
			c.Key, c.key = k.name, strings.ToLower(k.name)
			list = append(list, c)
		}
	}
	return list, nil
}

// conditionValues reads a scalar or a list of scalars.
func conditionValues(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	values := make([]string, 0, len(list))
	for _, e := range list {
		switch e := e.(type) {
		case string:
			values = append(values, e)
		case bool:
			values = append(values, strconv.FormatBool(e))
		case json.Number:
			values = append(values, e.String())
		default:
			return nil, false
		}
	}
	return values, len(values) > 0
}

// check validates a condition's key and values.
func (c *Condition) check(st *Statement, bucketPolicy bool) error {
	applies, ok := conditionKeys(c.key)
	if !ok {
		return malformedPolicy("Policy has an invalid condition key")
	}
	if c.key == "aws:sourceip" || c.base == "IpAddress" {
		for _, v := range c.Values {
			if _, ok := parsePrefix(v); !ok && !strings.Contains(v, "${") {
				return malformedPolicy("Invalid IP address in Conditions")
			}
		}
	}
	if bucketPolicy && applies != nil && !st.NotAction {
		for _, a := range st.Actions {
			if !strings.ContainsAny(a, "*?") && !slices.ContainsFunc(applies, func(x string) bool { return strings.EqualFold(x, a) }) {
				return malformedPolicy("Conditions do not apply to combination of actions and resources in statement")
			}
		}
	}
	return nil
}

// conditionKeys says whether a key (in lower case) exists, and to which
// actions it applies; nil: to all. Source: Service Authorization Reference.
func conditionKeys(key string) (actions []string, ok bool) {
	list := []string{"s3:ListBucket", "s3:ListBucketVersions"}
	write := []string{"s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectVersionAcl", "s3:PutBucketAcl", "s3:CreateBucket"}
	switch key {
	case "s3:prefix", "s3:delimiter", "s3:max-keys":
		return list, true
	case "s3:x-amz-acl", "s3:x-amz-grant-full-control", "s3:x-amz-grant-read", "s3:x-amz-grant-read-acp", "s3:x-amz-grant-write", "s3:x-amz-grant-write-acp":
		return write, true
	case "s3:versionid":
		return []string{"s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:GetObjectVersionAcl", "s3:PutObjectVersionAcl", "s3:GetObjectVersionTagging",
			"s3:PutObjectVersionTagging", "s3:DeleteObjectVersionTagging", "s3:GetObjectVersionAttributes", "s3:GetObjectVersionTorrent",
			"s3:GetObjectVersionForReplication", "s3:RestoreObject"}, true
	case "aws:sourceip", "aws:currenttime", "aws:epochtime", "aws:securetransport", "aws:useragent", "aws:referer", "aws:principalarn",
		"aws:principalaccount", "aws:principaltype", "aws:userid", "aws:username", "aws:multifactorauthage", "aws:multifactorauthpresent",
		"aws:principalorgid", "aws:principalisawsservice", "aws:resourceaccount", "aws:sourcearn", "aws:sourceaccount", "aws:sourcevpc",
		"aws:sourcevpce", "aws:vpcsourceip", "aws:viaawsservice", "aws:requestedregion", "aws:tokenissuetime", "aws:tagkeys", "aws:calledvia",
		"s3:authtype", "s3:signatureage", "s3:signatureversion", "s3:tlsversion", "s3:x-amz-content-sha256", "s3:resourceaccount",
		"s3:x-amz-copy-source", "s3:x-amz-metadata-directive", "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id",
		"s3:x-amz-server-side-encryption-customer-algorithm", "s3:x-amz-storage-class", "s3:x-amz-website-redirect-location",
		"s3:x-amz-object-ownership", "s3:locationconstraint", "s3:object-lock-mode", "s3:object-lock-retain-until-date",
		"s3:object-lock-remaining-retention-days", "s3:object-lock-legal-hold", "s3:requestobjecttagkeys", "s3:if-match", "s3:if-none-match",
		"s3:objectcreationoperation", "s3:accessgrantsinstancearn", "s3:dataaccesspointarn", "s3:dataaccesspointaccount", "s3:accesspointnetworkorigin":
		return nil, true
	}
	for _, prefix := range []string{"s3:existingobjecttag/", "s3:requestobjecttag/", "aws:principaltag/", "aws:resourcetag/", "aws:requesttag/", "s3:bucket-tag/"} {
		if strings.HasPrefix(key, prefix) && len(key) > len(prefix) {
			return nil, true
		}
	}
	return nil, false
}

// holds decides the condition. Where a request has several values of a key and
// no qualifier says how to take them, an allow wants all to match and a deny
// is content with one.
func (c *Condition) holds(e *environment, allow bool) bool {
	values, present := e.conditions()[c.key]
	if c.base == "Null" {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, "true") == !present })
	}
	if !present {
		return c.ifExists || c.otherwise && c.set != "ForAnyValue" || c.set == "ForAllValues"
	}
	one := func(v string) bool { return c.matchesAny(e, v) != c.otherwise }
	if c.set == "ForAllValues" || c.set == "" && allow {
		for _, v := range values {
			if !one(v) {
				return false
			}
		}
		return c.set == "ForAllValues" || len(values) > 0
	}
	return slices.ContainsFunc(values, one)
}

func (c *Condition) matchesAny(e *environment, value string) bool {
	return slices.ContainsFunc(c.Values, func(want string) bool {
		if e.variables {
			expanded, ok := expand(want, e.variable)
			if !ok {
				return false
			}
			want = expanded
		}
		return c.matchOne(want, value)
	})
}

// matchOne compares a request's value with one of the policy's, which may
// hold escapes.
func (c *Condition) matchOne(want, value string) bool {
	switch c.base {
	case "StringLike", "ArnLike", "ArnEquals":
		return match(want, value)
	}
	want = strings.ReplaceAll(want, string(rune(escape)), "")
	switch {
	case c.base == "StringEquals" || c.base == "BinaryEquals":
		return want == value
	case c.base == "StringEqualsIgnoreCase" || c.base == "Bool":
		return strings.EqualFold(want, value)
	case c.base == "IpAddress":
		network, ok := parsePrefix(want)
		address, err := netip.ParseAddr(value)
		return ok && err == nil && network.Contains(address.Unmap().WithZone(""))
	case strings.HasPrefix(c.base, "Numeric"):
		a, err1 := strconv.ParseFloat(value, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && compares(c.base[len("Numeric"):], a, b)
	case strings.HasPrefix(c.base, "Date"):
		a, ok1 := parseDate(value)
		b, ok2 := parseDate(want)
		return ok1 && ok2 && compares(c.base[len("Date"):], float64(a.UnixMilli()), float64(b.UnixMilli()))
	}
	return false
}

func compares(how string, a, b float64) bool {
	switch how {
	case "Equals":
		return a == b
	case "LessThan":
		return a < b
	case "LessThanEquals":
		return a <= b
	case "GreaterThan":
		return a > b
	case "GreaterThanEquals":
		return a >= b
	}
	return false
}

// parsePrefix reads an address or a network.
func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, err == nil
}

// parseDate reads ISO 8601 or seconds since 1970.
func parseDate(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > -1<<40 && n < 1<<40 {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}

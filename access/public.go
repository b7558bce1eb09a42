package access

import (
	"net/netip"
	"slices"
	"strings"
)

// IsPublic reports whether a bucket policy lets in everybody: an allow for any
// principal (or for the complement of some) without a condition that pins the
// caller to fixed values. Source: S3 User Guide, "The meaning of public".
func (p *Policy) IsPublic() bool {
	return p != nil && slices.ContainsFunc(p.Statements, func(st Statement) bool {
		if !st.Allow {
			return false
		}
		open := st.NotPrincipal || anyOf(st.Principals)
		return open && !slices.ContainsFunc(st.Conditions, func(c Condition) bool { return c.pins() })
	})
}

// pins reports whether a condition keeps strangers out.
func (c *Condition) pins() bool {
	if c.otherwise || c.ifExists || c.base == "Null" || c.set == "ForAllValues" {
		return false
	}
	fixed := func(v string) bool { return v != "" && !strings.ContainsAny(v, "*?") && !strings.Contains(v, "${") }
	switch c.key {
	case "aws:sourceip":
		return c.base == "IpAddress" && !slices.ContainsFunc(c.Values, func(v string) bool { return !narrow(v) })
	case "aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:sourcearn", "aws:sourceaccount", "aws:sourcevpc", "aws:sourcevpce",
		"aws:userid", "aws:username", "s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:dataaccesspointarn", "s3:dataaccesspointaccount":
		switch c.base {
		case "StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike":
			return !slices.ContainsFunc(c.Values, func(v string) bool { return !fixed(v) })
		}
	}
	return false
}

// narrow reports whether a network is a part of the Internet: IPv4 of /8 and
// longer, IPv6 of /32 and longer.
func narrow(v string) bool {
	p, ok := parsePrefix(v)
	if !ok {
		return false
	}
	shortest := 32
	if p.Addr().Is4() {
		shortest = 8
	}
	return p.Bits() >= shortest && p.Addr() != netip.IPv4Unspecified()
}

// CheckPolicy decides whether a policy may be stored: a public one is
// AccessDenied under BlockPublicPolicy.
func CheckPolicy(p *Policy, b PublicAccessBlock) error {
	if b.BlockPublicPolicy && p.IsPublic() {
		return errBlocked()
	}
	return nil
}

package access

import (
	"context"
	"net/http"
	"strings"
)

// grantHeaders pairs the x-amz-grant-* headers, in net/http's canonical form,
// with their permissions.
func grantHeaders() []struct {
	name       string
	permission Permission
} {
	return []struct {
		name       string
		permission Permission
	}{
		{"X-Amz-Grant-Full-Control", FullControl}, {"X-Amz-Grant-Read", Read}, {"X-Amz-Grant-Write", Write},
		{"X-Amz-Grant-Read-Acp", ReadACP}, {"X-Amz-Grant-Write-Acp", WriteACP},
	}
}

// HasACLHeaders reports whether a request gives an ACL in its headers.
func HasACLHeaders(h http.Header) bool {
	if h.Get("X-Amz-Acl") != "" {
		return true
	}
	for _, g := range grantHeaders() {
		if h.Get(g.name) != "" {
			return true
		}
	}
	return false
}

// ACLFromHeaders builds the ACL that x-amz-acl or the x-amz-grant-* headers
// ask for, for a new owner; nil when there is none of them. E-mail addresses
// are left to Service.ResolveACL.
func ACLFromHeaders(h http.Header, owner, bucketOwner string) (*ACL, error) {
	canned := h.Get("X-Amz-Acl")
	acl := &ACL{Owner: owner}
	granted := false
	for _, g := range grantHeaders() {
		value := h.Get(g.name)
		if value == "" {
			continue
		}
		granted = true
		if canned != "" {
			break // refused below, whatever the grants say
		}
		grants, err := parseGrants(strings.ToLower(g.name), value, g.permission)
		if err != nil {
			return nil, err
		}
		acl.Grants = append(acl.Grants, grants...)
	}
	switch {
	case canned != "" && granted:
		return nil, &Error{Code: "InvalidRequest", Message: "Specifying both Canned ACLs and Header Grants is not allowed.", Status: http.StatusBadRequest}
	case canned != "":
		a, ok := CannedACL(canned, owner, bucketOwner)
		if !ok {
			return nil, invalidArgument("x-amz-acl", canned, "")
		}
		return a, nil
	case !granted:
		return nil, nil
	case len(acl.Grants) > MaxGrants:
		return nil, malformedACL()
	}
	return acl, nil
}

// parseGrants reads `id="…", uri="…", emailAddress="…"`.
func parseGrants(header, value string, p Permission) ([]Grant, error) {
	bad := func() error { return invalidArgument(header, value, "Argument format not recognized") }
	var grants []Grant
	for item := range strings.SplitSeq(value, ",") {
		kind, who, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || len(grants) > MaxGrants {
			return nil, bad()
		}
		who = strings.TrimSpace(who)
		if len(who) >= 2 && who[0] == '"' && who[len(who)-1] == '"' {
			who = who[1 : len(who)-1]
		}
		if who == "" {
			return nil, bad()
		}
		var g Grantee
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "id":
			g.ID = who
		case "uri":
			if !validGroup(who) {
				return nil, invalidArgument("uri", who, "Invalid group uri")
			}
			g.Group = who
		case "emailaddress":
			g.Email = who
		default:
			return nil, bad()
		}
		grants = append(grants, Grant{g, p})
	}
	return grants, nil
}

// ResolveACL replaces e-mail addresses by canonical ids and refuses ids that
// no user has (InvalidArgument "Invalid id", or
// UnresolvableGrantByEmailAddress). The result may be stored.
func (s *Service) ResolveACL(ctx context.Context, a *ACL) error {
	if a == nil {
		return nil
	}
	seen := make(map[string]bool)
	for i := range a.Grants {
		g := &a.Grants[i].Grantee
		switch {
		case g.Email != "":
			u, err := s.UserByEmail(ctx, g.Email)
			if isNotFound(err) {
				return &Error{Code: "UnresolvableGrantByEmailAddress", Message: "The e-mail address you provided does not match any account on record.", Status: http.StatusBadRequest}
			}
			if err != nil {
				return err
			}
			*g = Grantee{ID: u.ID}
		case g.ID != "" && g.ID != a.Owner && !seen[g.ID]:
			_, err := s.UserByID(ctx, g.ID)
			if isNotFound(err) {
				return invalidArgument("CanonicalUser/ID", g.ID, "Invalid id")
			}
			if err != nil {
				return err
			}
		}
		seen[g.ID] = true
	}
	return nil
}

package access

import (
	"net/http"
	"slices"
	"strings"
)

// A Policy is a parsed policy document: a bucket's, a user's or a key's. It is
// immutable.
type Policy struct {
	Version    string // 2012-10-17 or 2008-10-17
	ID         string
	Statements []Statement
}

// A Statement allows or denies actions on resources to principals under
// conditions. Source: IAM User Guide, "JSON policy element reference".
type Statement struct {
	Sid          string
	Allow        bool        // Effect
	Principals   []Principal // of a bucket policy
	NotPrincipal bool        // Principals are all but these
	Actions      []string    // patterns
	NotAction    bool        // Actions are all but these
	Resources    []string    // patterns of ARNs
	NotResource  bool        // Resources are all but these
	Conditions   []Condition // all must hold
}

// A Principal is whom a statement of a bucket policy is about.
type Principal struct {
	Any       bool   // "*"
	Canonical string // canonical id
	Account   bool   // everybody in the account
	Root      bool   // the account's root user by its ARN; as in AWS it stands for the account
	Name      string // a user by its name
	Raw       string // as written

}

// ParsePolicy reads a bucket policy of at most MaxPolicy bytes. account is the
// account's 12 digits. known says whether a user or an access key of that name,
// or a canonical id, exists; nil believes all. What is wrong is an *Error with
// the code MalformedPolicy in S3's words.
func ParsePolicy(document []byte, bucket, account string, known func(p Principal) bool) (*Policy, error) {
	p, err := parseDocument(document, true)
	if err != nil {
		return nil, err
	}
	actions := Actions()
	for _, st := range p.Statements {
		if err := st.check(actions, bucket); err != nil {
			return nil, err
		}
		for i := range st.Principals {
			who := &st.Principals[i]
			if !who.resolve(account) || known != nil && !who.Any && !who.Account && !known(*who) {
				return nil, malformedPolicy("Invalid principal in policy")
			}
		}
	}
	return p, nil
}

// ParseUserPolicy reads a policy of a user or a key: no principals, and
// resources of any bucket.
func ParseUserPolicy(document []byte) (*Policy, error) {
	p, err := parseDocument(document, false)
	if err != nil {
		return nil, err
	}
	actions := Actions()
	for _, st := range p.Statements {
		if err := st.check(actions, ""); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// policyTooLarge is what a document over MaxPolicy is refused with.
func policyTooLarge() *Error {
	return &Error{Code: "PolicyTooLarge", Message: "Policy exceeds the maximum allowed document size.", Status: http.StatusBadRequest}
}

// check validates what a statement says; bucket is "" in a user's policy.
func (st *Statement) check(known map[string]Scope, bucket string) error {
	var scopes []map[Scope]bool
	for _, a := range st.Actions {
		names := matching(known, a)
		if !validAction(a) || len(names) == 0 {
			return malformedPolicy("Policy has invalid action")
		}
		of := make(map[Scope]bool, 3)
		for _, n := range names {
			// S3 lets this one, named outright, stand on the bucket and on objects,
			// and does not count it where a pattern names others too.
			if n == "s3:ListBucketMultipartUploads" {
				of[OnObject], of[OnBucket] = of[OnObject] || len(names) == 1, of[OnBucket] || len(names) == 1
				continue
			}
			of[known[n]] = true
		}
		scopes = append(scopes, of)
	}
	onBucket, onObject := false, false
	for _, r := range st.Resources {
		b, o, ok := resourceKinds(r, bucket)
		if !ok {
			return malformedPolicy("Policy has invalid resource")
		}
		onBucket, onObject = onBucket || b, onObject || o
	}
	for i := range st.Conditions {
		if err := st.Conditions[i].check(st, bucket != ""); err != nil {
			return err
		}
	}
	if bucket != "" && !st.NotAction && !st.NotResource {
		for _, of := range scopes {
			if !(of[OnBucket] && onBucket || of[OnObject] && onObject) {
				return malformedPolicy("Action does not apply to any resource(s) in statement")
			}
		}
	}
	return nil
}

// validAction: "*", or "s3:" and letters, digits and wildcards.
func validAction(a string) bool {
	if a == "*" {
		return true
	}
	service, name, ok := strings.Cut(a, ":")
	return ok && strings.EqualFold(service, "s3") && name != "" && allIn(name, "*?")
}

const resourcePrefix = "arn:aws:s3:::"

// resourceKinds checks a resource's pattern and says whether it can name a
// bucket and whether it can name objects.
func resourceKinds(r, bucket string) (onBucket, onObject, ok bool) {
	if r == "*" {
		return true, true, true
	}
	rest, found := strings.CutPrefix(r, resourcePrefix)
	if !found || rest == "" || rest[0] == '/' || strings.ContainsRune(r, escape) {
		return false, false, false
	}
	name, _, inside := strings.Cut(rest, "/")
	if bucket != "" && !strings.Contains(name, "${") {
		// What "*" in the bucket's part stands for may hold a slash.
		if !match(name, bucket) && !(strings.Contains(name, "*") && (match(name, bucket+"/") || matchPrefix(name, bucket+"/"))) {
			return false, false, false
		}
	}
	return !inside, inside || strings.Contains(name, "*"), true
}

// matchPrefix reports whether some string that begins with s matches pattern.
func matchPrefix(pattern, s string) bool {
	i := strings.IndexByte(pattern, '*')
	return i >= 0 && match(pattern[:i+1], s)
}

// resolve reads a principal's written form; false if there can be no such.
func (p *Principal) resolve(account string) bool {
	if p.Any || p.Canonical != "" {
		return p.Any || isCanonicalID(p.Canonical)
	}
	arn, isARN := strings.CutPrefix(p.Raw, "arn:")
	switch {
	case p.Raw == account:
		p.Account = true
	case isARN:
		return p.resolveARN(strings.Split(arn, ":"), account)
	case isCanonicalID(p.Raw):
		p.Canonical = p.Raw
	case validAccessKey(p.Raw) || validName(p.Raw):
		p.Name = p.Raw
	default:
		return false
	}
	return true
}

// resolveARN reads aws:iam::ACCOUNT:root and aws:iam::ACCOUNT:user/[PATH/]NAME.
func (p *Principal) resolveARN(parts []string, account string) bool {
	if len(parts) != 5 || parts[0] != "aws" || parts[1] != "iam" || parts[2] != "" || parts[3] != account && parts[3] != "" {
		return false
	}
	if parts[4] == "root" {
		p.Account, p.Root = true, true
		return true
	}
	path, ok := strings.CutPrefix(parts[4], "user/")
	if !ok {
		return false
	}
	p.Name = path[strings.LastIndexByte(path, '/')+1:]
	return validName(p.Name)
}

// matches reports whether the principal stands for an identity. The account
// (or its root ARN) stands for everybody in it where it is denied something;
// where it is allowed something, for the root user alone, since users get what
// the account has by their own policies.
func (p Principal) matches(i Identity, denying bool) bool {
	switch {
	case p.Any:
		return true
	case i.Anonymous:
		return false
	case p.Account:
		return i.Root || denying
	case p.Canonical != "":
		return p.Canonical == i.User
	}
	return p.Name != "" && (p.Name == i.Name || p.Name == i.AccessKey && !strings.HasPrefix(p.Raw, "arn:"))
}

// applies reports whether the statement is about the request.
func (st *Statement) applies(e *environment, bucketPolicy bool) bool {
	if bucketPolicy {
		named := slices.ContainsFunc(st.Principals, func(p Principal) bool {
			return p.matches(e.identity, !st.Allow && !st.NotPrincipal)
		})
		if named == st.NotPrincipal {
			return false
		}
	}
	if slices.ContainsFunc(st.Actions, func(a string) bool { return matchFold(a, e.action) }) == st.NotAction {
		return false
	}
	hit := slices.ContainsFunc(st.Resources, func(r string) bool { return e.matchResource(r) })
	if hit == st.NotResource {
		return false
	}
	for i := range st.Conditions {
		if !st.Conditions[i].holds(e, st.Allow) {
			return false
		}
	}
	return true
}

// A verdict is what a policy says of a request.
type verdict uint8

const (
	silent verdict = iota
	allowed
	denied
)

// judge asks every statement; a deny wins.
func (p *Policy) judge(e *environment, bucketPolicy bool) verdict {
	if p == nil {
		return silent
	}
	e.variables = p.Version == version2012
	v := silent
	for i := range p.Statements {
		st := &p.Statements[i]
		if st.Allow && v == allowed || !st.applies(e, bucketPolicy) {
			continue
		}
		if !st.Allow {
			return denied
		}
		v = allowed
	}
	return v
}

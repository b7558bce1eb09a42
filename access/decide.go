package access

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// An environment is a question as statements look at it.
type environment struct {
	identity  Identity
	action    string
	resource  string // the ARN
	question  *Question
	filled    map[string][]string // condition keys in lower case; nil until asked for
	variables bool                // the policy's version has policy variables
}

func newEnvironment(q *Question) *environment {
	e := &environment{identity: q.Identity, action: q.Action, resource: "*", question: q}
	if q.Bucket != "" {
		e.resource = resourcePrefix + q.Bucket
		if q.Key != "" {
			e.resource += "/" + q.Key
		}
	}
	return e
}

// conditions returns the condition keys. Most questions are decided without.
func (e *environment) conditions() map[string][]string {
	if e.filled == nil {
		e.fill()
	}
	return e.filled
}

func (e *environment) fill() {
	q := e.question
	given := q.Conditions
	if given == nil && q.Ask != nil {
		given = q.Ask()
	}
	e.filled = make(map[string][]string, len(given)+10)
	for k, v := range given {
		if len(v) > 0 {
			e.filled[strings.ToLower(k)] = v
		}
	}
	now := q.Now
	if now.IsZero() {
		now = time.Now()
	}
	set := func(key, value string) {
		delete(e.filled, key)
		if value != "" {
			e.filled[key] = []string{value}
		}
	}
	i := q.Identity
	set("aws:currenttime", now.UTC().Format(time.RFC3339))
	set("aws:epochtime", strconv.FormatInt(now.Unix(), 10))
	set("aws:userid", i.User)
	set("aws:principalaccount", i.Account)
	set("aws:username", "")
	set("aws:principalarn", "")
	switch {
	case i.Anonymous:
		set("aws:userid", "anonymous")
		set("aws:principalaccount", "")
		set("aws:principaltype", "Anonymous")
	case i.Root:
		set("aws:principaltype", "Account")
		set("aws:principalarn", i.ARN())
	default:
		set("aws:principaltype", "User")
		set("aws:principalarn", i.ARN())
		set("aws:username", i.Name)
	}
	for name, value := range i.Tags {
		set("aws:principaltag/"+strings.ToLower(name), value)
	}
}

// variable returns the value of a policy variable: of a key with one value.
func (e *environment) variable(key string) (string, bool) {
	v := e.conditions()[strings.ToLower(key)]
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// matchResource compares the request's resource with a pattern.
func (e *environment) matchResource(pattern string) bool {
	if e.variables {
		expanded, ok := expand(pattern, e.variable)
		if !ok {
			return false
		}
		pattern = expanded
	}
	return match(pattern, e.resource)
}

// Decide answers the question: nil, or a *Denied (which wraps
// hallig.ErrDenied).
//
//  1. An explicit deny in a policy of the user, of the key or of the bucket
//     refuses, whatever allows. One exception, as in AWS: the root user may always
//     read, replace and delete a bucket's policy, so that nobody can lock
//     everybody out.
//  2. A key with a policy of its own may do only what that allows too.
//  3. The root user may do the rest.
//  4. A policy of the user allows.
//  5. The bucket's owner is allowed, except to read objects that another owns
//     where ACLs are in force.
//  6. The bucket's policy allows; under RestrictPublicBuckets a public policy
//     does not allow anonymous requests.
//  7. ACLs allow, where they are in force; under IgnorePublicAcls not what
//     they grant to everybody.
//
// Nothing else is allowed.
func Decide(q Question) error {
	if q.Identity.User == "" {
		q.Identity = AnonymousIdentity() // who is not named is nobody, never somebody
	}
	e := newEnvironment(&q)
	refused := func(source string) error {
		return &Denied{ARN: q.Identity.ARN(), Action: q.Action, Resource: e.resource, Explicit: source != "", Source: source}
	}
	byUser := silent
	if !q.Identity.Anonymous {
		for _, p := range q.Identity.Policies {
			switch p.judge(e, false) {
			case denied:
				return refused("an identity-based policy")
			case allowed:
				byUser = allowed
			case silent:
			}
		}
		if q.Identity.KeyPolicy != nil {
			switch q.Identity.KeyPolicy.judge(e, false) {
			case denied:
				return refused("a key policy")
			case silent:
				return refused("")
			case allowed:
			}
		}
	}
	byBucket := q.Policy.judge(e, true)
	if byBucket == denied && !(q.Identity.Root && isPolicyAction(q.Action)) {
		return refused("a bucket policy")
	}
	if !q.Identity.Anonymous && (q.Identity.Root || byUser == allowed) {
		return nil
	}
	if byBucket == allowed && q.Block.RestrictPublicBuckets && q.Identity.Anonymous && q.Policy.IsPublic() {
		byBucket = silent
	}
	foreign := !q.Ownership.ACLsDisabled() && q.ObjectOwner != "" && q.ObjectOwner != q.BucketOwner && reads(q.Action)
	if !foreign && q.Bucket != "" {
		owner := !q.Identity.Anonymous && q.BucketOwner != "" && q.Identity.User == q.BucketOwner && q.Action != "s3:CreateBucket"
		if owner || byBucket == allowed {
			return nil
		}
	}
	if allowedByACL(&q) {
		return nil
	}
	return refused("")
}

func isPolicyAction(action string) bool {
	return slices.Contains([]string{"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"}, action)
}

// allowedByACL asks the ACL that covers the action.
func allowedByACL(q *Question) bool {
	if q.Ownership.ACLsDisabled() {
		return false
	}
	p, object := aclPermission(q.Action)
	if p == "" {
		return false
	}
	if !object {
		return q.BucketACL.Allows(q.Identity, p, q.Block.IgnorePublicAcls)
	}
	owner := !q.Identity.Anonymous && q.ObjectOwner != "" && q.Identity.User == q.ObjectOwner
	if owner && (q.ObjectACL == nil || p == ReadACP || p == WriteACP) {
		return true // an owner can always give back what it took from itself
	}
	return q.ObjectACL.Allows(q.Identity, p, q.Block.IgnorePublicAcls)
}

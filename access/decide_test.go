package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
)

const account = "000000000000"

func id(c string) string { return strings.Repeat(c, 64) }

func user(name, c string, policies ...string) Identity {
	i := Identity{User: id(c), Name: name, Account: account, AccessKey: "AK" + name}
	for _, p := range policies {
		parsed, err := ParseUserPolicy([]byte(p))
		if err != nil {
			panic(err)
		}
		i.Policies = append(i.Policies, parsed)
	}
	return i
}

func bucketPolicy(t testing.TB, statements ...string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`), "bkt", account, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func userPolicy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

const (
	allowAll = `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`
	denyGet  = `{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/secret/*"}`
	openGet  = `{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}`
	denyAny  = `{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bkt","arn:aws:s3:::bkt/*"]}`
)

// TestDecide is the table of who may do what.
func TestDecide(t *testing.T) {
	root := Identity{User: id("0"), Name: RootUser, Account: account, Root: true}
	owner, alice, bob := user("owner", "1"), user("alice", "2"), user("bob", "3")
	anybody := AnonymousIdentity()
	reader := user("reader", "4", userPolicy(`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bkt","arn:aws:s3:::bkt/*"]}`))
	admin := user("admin", "5", userPolicy(allowAll))
	limited := user("limited", "6", userPolicy(allowAll, denyGet))
	keyed := admin
	keyed.KeyPolicy, _ = ParseUserPolicy([]byte(userPolicy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`)))
	strongKey := reader
	strongKey.KeyPolicy, _ = ParseUserPolicy([]byte(userPolicy(allowAll)))
	deniedKey := admin
	deniedKey.KeyPolicy, _ = ParseUserPolicy([]byte(userPolicy(allowAll, denyGet)))
	rootKey := root
	rootKey.KeyPolicy = keyed.KeyPolicy
	public, _ := CannedACL("public-read", id("1"), id("1"))
	members, _ := CannedACL("authenticated-read", id("1"), id("1"))
	writable, _ := CannedACL("public-read-write", id("1"), id("1"))
	base := Question{Action: "s3:GetObject", Bucket: "bkt", Key: "k", BucketOwner: id("1"), ObjectOwner: id("1")}
	for name, test := range map[string]struct {
		who    Identity
		change func(q *Question)
		want   bool
	}{
		"root":                             {root, nil, true},
		"owner":                            {owner, nil, true},
		"a stranger":                       {alice, nil, false},
		"anonymous":                        {anybody, nil, false},
		"a policy":                         {reader, nil, true},
		"a policy, other action":           {reader, func(q *Question) { q.Action = "s3:PutObject" }, false},
		"a policy, other bucket":           {reader, func(q *Question) { q.Bucket = "bkt2" }, false},
		"a policy, the bucket":             {reader, func(q *Question) { q.Action, q.Key = "s3:ListBucket", "" }, true},
		"deny beside allow":                {limited, func(q *Question) { q.Key = "secret/x" }, false},
		"deny beside allow, elsewhere":     {limited, nil, true},
		"deny and the owner":               {limited, func(q *Question) { q.Key, q.BucketOwner = "secret/x", id("6") }, false},
		"deny and the bucket policy":       {limited, func(q *Question) { q.Key, q.Policy = "secret/x", bucketPolicy(t, openGet) }, false},
		"a key narrows":                    {keyed, func(q *Question) { q.Action = "s3:PutObject" }, false},
		"a key allows":                     {keyed, nil, true},
		"a key is not stronger":            {strongKey, func(q *Question) { q.Action = "s3:PutObject" }, false},
		"a key is not stronger, elsewhere": {strongKey, func(q *Question) { q.Bucket = "other" }, false},
		"a key denies":                     {deniedKey, func(q *Question) { q.Key = "secret/x" }, false},
		"a root key narrows":               {rootKey, func(q *Question) { q.Action = "s3:PutObject" }, false},
		"a key narrows the owner":          {keyed, func(q *Question) { q.Action, q.BucketOwner = "s3:PutObject", id("5") }, false},
		"a key narrows the public":         {keyed, func(q *Question) { q.Action, q.BucketACL, q.Ownership = "s3:PutObject", writable, ObjectWriter }, false},
		"bucket policy":                    {alice, func(q *Question) { q.Policy = bucketPolicy(t, openGet) }, true},
		"bucket policy, anonymous":         {anybody, func(q *Question) { q.Policy = bucketPolicy(t, openGet) }, true},
		"bucket policy, other action":      {anybody, func(q *Question) { q.Policy, q.Action = bucketPolicy(t, openGet), "s3:PutObject" }, false},
		"bucket policy denies the owner":   {owner, func(q *Question) { q.Policy = bucketPolicy(t, openGet, denyAny) }, false},
		"bucket policy denies an admin":    {admin, func(q *Question) { q.Policy = bucketPolicy(t, denyAny) }, false},
		"bucket policy denies root":        {root, func(q *Question) { q.Policy = bucketPolicy(t, denyAny) }, false},
		"root repairs the policy":          {root, func(q *Question) { q.Policy, q.Action, q.Key = bucketPolicy(t, denyAny), "s3:DeleteBucketPolicy", "" }, true},
		"nobody else repairs it":           {owner, func(q *Question) { q.Policy, q.Action, q.Key = bucketPolicy(t, denyAny), "s3:DeleteBucketPolicy", "" }, false},
		"restricted, anonymous":            {anybody, func(q *Question) { q.Policy, q.Block.RestrictPublicBuckets = bucketPolicy(t, openGet), true }, false},
		"restricted, a user":               {alice, func(q *Question) { q.Policy, q.Block.RestrictPublicBuckets = bucketPolicy(t, openGet), true }, true},
		"ACL without effect":               {anybody, func(q *Question) { q.ObjectACL = public }, false},
		"ACL":                              {anybody, func(q *Question) { q.ObjectACL, q.Ownership = public, ObjectWriter }, true},
		"ACL ignored":                      {anybody, func(q *Question) { q.ObjectACL, q.Ownership, q.Block.IgnorePublicAcls = public, ObjectWriter, true }, false},
		"ACL, members, anonymous":          {anybody, func(q *Question) { q.ObjectACL, q.Ownership = members, ObjectWriter }, false},
		"ACL, members":                     {bob, func(q *Question) { q.ObjectACL, q.Ownership = members, ObjectWriter }, true},
		"ACL, other permission":            {anybody, func(q *Question) { q.Action, q.ObjectACL, q.Ownership = "s3:PutObjectAcl", public, ObjectWriter }, false},
		"ACL of the bucket":                {anybody, func(q *Question) { q.Action, q.BucketACL, q.Ownership = "s3:PutObject", writable, ObjectWriter }, true},
		"ACL of the bucket is no object's": {anybody, func(q *Question) { q.BucketACL, q.Ownership = writable, ObjectWriter }, false},
		"ACL and a deny":                   {alice, func(q *Question) { q.ObjectACL, q.Ownership, q.Policy = public, ObjectWriter, bucketPolicy(t, denyAny) }, false},
		"another's object":                 {owner, func(q *Question) { q.ObjectOwner, q.Ownership = id("2"), ObjectWriter }, false},
		"another's object, enforced":       {owner, func(q *Question) { q.ObjectOwner = id("2") }, true},
		"another's object, its owner":      {alice, func(q *Question) { q.ObjectOwner, q.Ownership = id("2"), ObjectWriter }, true},
		"an owner without grants": {alice, func(q *Question) {
			q.ObjectOwner, q.Ownership, q.ObjectACL = id("2"), ObjectWriter, &ACL{Owner: id("2")}
		}, false},
		"an owner repairs the ACL": {alice, func(q *Question) {
			q.Action, q.ObjectOwner, q.Ownership, q.ObjectACL = "s3:PutObjectAcl", id("2"), ObjectWriter, &ACL{Owner: id("2")}
		}, true},
		"another repairs no ACL": {bob, func(q *Question) {
			q.Action, q.ObjectOwner, q.Ownership, q.ObjectACL = "s3:PutObjectAcl", id("2"), ObjectWriter, &ACL{Owner: id("2")}
		}, false},
		"another's object, policy": {bob, func(q *Question) {
			q.ObjectOwner, q.Ownership, q.Policy = id("2"), ObjectWriter, bucketPolicy(t, openGet)
		}, false},
		"another's object, deleted": {owner, func(q *Question) { q.ObjectOwner, q.Ownership, q.Action = id("2"), ObjectWriter, "s3:DeleteObject" }, true},
		"an empty identity":         {Identity{}, func(q *Question) { q.ObjectACL, q.Ownership = members, ObjectWriter }, false},
		"an empty root":             {Identity{Root: true}, nil, false},
		"a bucket of nobody":        {anybody, func(q *Question) { q.BucketOwner = "" }, false},
		"create without a policy":   {alice, func(q *Question) { q.Action, q.Key, q.BucketOwner = "s3:CreateBucket", "", id("2") }, false},
		"list without a policy":     {alice, func(q *Question) { q.Action, q.Key, q.Bucket, q.BucketOwner = "s3:ListAllMyBuckets", "", "", "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			q := base
			q.Identity = test.who
			if test.change != nil {
				test.change(&q)
			}
			err := Decide(q)
			if (err == nil) != test.want || err != nil && !errors.Is(err, hallig.ErrDenied) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestConditions tries each operator on a public GetObject.
func TestConditions(t *testing.T) {
	request := map[string][]string{"aws:SourceIp": {"10.1.2.3"}, "aws:SecureTransport": {"true"}, "aws:UserAgent": {"curl/8"}, "aws:Referer": {"https://a.test/x"},
		"s3:ExistingObjectTag/class": {"public"}, "s3:signatureAge": {"500"}, "s3:RequestObjectTagKeys": {"a", "b"}}
	for condition, want := range map[string]bool{
		`{"StringEquals":{"aws:UserAgent":"curl/8"}}`:                               true,
		`{"StringEquals":{"AWS:useragent":["x","curl/8"]}}`:                         true,
		`{"StringEquals":{"aws:UserAgent":"curl/*"}}`:                               false,
		`{"StringEquals":{"aws:UserAgent":"CURL/8"}}`:                               false,
		`{"StringEqualsIgnoreCase":{"aws:UserAgent":"CURL/8"}}`:                     true,
		`{"StringLike":{"aws:UserAgent":"curl/?"}}`:                                 true,
		`{"StringNotLike":{"aws:UserAgent":"curl/?"}}`:                              false,
		`{"StringNotEquals":{"aws:UserAgent":["a","curl/8"]}}`:                      false,
		`{"StringNotEquals":{"aws:UserAgent":["a","b"]}}`:                           true,
		`{"StringEquals":{"aws:UserAgent":"curl/8","aws:Referer":"no"}}`:            false,
		`{"StringEquals":{"aws:username":"alice"}}`:                                 false,
		`{"StringNotEquals":{"aws:username":"alice"}}`:                              true,
		`{"StringEqualsIfExists":{"aws:username":"alice"}}`:                         true,
		`{"StringEqualsIfExists":{"aws:UserAgent":"no"}}`:                           false,
		`{"Null":{"aws:username":"true"}}`:                                          true,
		`{"Null":{"aws:username":false}}`:                                           false,
		`{"Null":{"aws:UserAgent":"false"}}`:                                        true,
		`{"Bool":{"aws:SecureTransport":"true"}}`:                                   true,
		`{"Bool":{"aws:SecureTransport":false}}`:                                    false,
		`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`:                               true,
		`{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.2.3"]}}`:              true,
		`{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}`:                            false,
		`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`:                            false,
		`{"NotIpAddress":{"aws:SourceIp":"11.0.0.0/8"}}`:                            true,
		`{"NumericLessThan":{"s3:signatureAge":"600"}}`:                             true,
		`{"NumericLessThan":{"s3:signatureAge":500}}`:                               false,
		`{"NumericLessThanEquals":{"s3:signatureAge":500}}`:                         true,
		`{"NumericGreaterThan":{"s3:signatureAge":499}}`:                            true,
		`{"NumericNotEquals":{"s3:signatureAge":500}}`:                              false,
		`{"NumericEquals":{"aws:UserAgent":"x"}}`:                                   false,
		`{"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}}`:               true,
		`{"DateGreaterThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}}`:            false,
		`{"DateGreaterThan":{"aws:EpochTime":"1"}}`:                                 true,
		`{"StringEquals":{"s3:ExistingObjectTag/class":"public"}}`:                  true,
		`{"StringEquals":{"s3:ExistingObjectTag/other":"public"}}`:                  false,
		`{"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["a","c"]}}`:        true,
		`{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","c"]}}`:       false,
		`{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b","c"]}}`:   true,
		`{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`:                       true,
		`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a"]}}`:                        false,
		`{"StringEquals":{"s3:RequestObjectTagKeys":"a"}}`:                          false, // an allow wants all
		`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}`:                  false,
		`{"StringLike":{"aws:Referer":"https://${aws:username}/*"}}`:                false,
		`{"StringLike":{"aws:Referer":"https://${aws:username, 'a.test'}/*"}}`:      true,
		`{"StringLike":{"aws:UserAgent":"${*}"}}`:                                   false,
		`{"StringEquals":{"aws:PrincipalType":"Anonymous"}}`:                        true,
		`{"StringEquals":{"aws:userid":"anonymous"},"Null":{"aws:PrincipalArn":1}}`: false,
	} {
		p, err := ParsePolicy([]byte(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*","Condition":%s}}`, condition)), "bkt", account, nil)
		if err != nil {
			t.Errorf("%s: %v", condition, err)
			continue
		}
		err = Decide(Question{Identity: AnonymousIdentity(), Action: "s3:GetObject", Bucket: "bkt", Key: "k", BucketOwner: id("1"), Policy: p, Conditions: request,
			Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)})
		if (err == nil) != want {
			t.Errorf("%s: %v, want %v", condition, err, want)
		}
	}
}

// TestDenyByOneOfSeveralValues: a deny is content with one value of many, so a
// doubled parameter does not slip past it.
func TestDenyByOneOfSeveralValues(t *testing.T) {
	p := bucketPolicy(t, `{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bkt"}`,
		`{"Effect":"Deny","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bkt","Condition":{"StringEquals":{"s3:prefix":"secret/"}}}`)
	for want, values := range map[bool][]string{true: {"open/"}, false: {"open/", "secret/"}} {
		err := Decide(Question{Identity: AnonymousIdentity(), Action: "s3:ListBucket", Bucket: "bkt", Policy: p, Conditions: map[string][]string{"s3:prefix": values}})
		if (err == nil) != want {
			t.Errorf("%v: %v", values, err)
		}
	}
}

// TestForgedConditions: what Decide knows itself cannot be given by a request.
func TestForgedConditions(t *testing.T) {
	p := bucketPolicy(t, `{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*","Condition":{"StringEquals":{"aws:username":"admin"}}}`)
	for _, who := range []Identity{AnonymousIdentity(), user("alice", "2")} {
		q := Question{Identity: who, Action: "s3:GetObject", Bucket: "bkt", Key: "k", Policy: p, Conditions: map[string][]string{"aws:username": {"admin"}, "AWS:UserName": {"admin"}}}
		if Decide(q) == nil {
			t.Errorf("%s passes as admin", who.Name)
		}
	}
}

// TestVariables: a user's name stands for itself, never for a pattern.
func TestVariables(t *testing.T) {
	home := userPolicy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/home/${aws:username}/*"}`)
	for name, test := range map[string]struct {
		user, key string
		want      bool
	}{
		"own":       {"alice", "home/alice/x", true},
		"another's": {"alice", "home/bob/x", false},
		"prefix":    {"alice", "home/alice2/x", false},
	} {
		if err := Decide(Question{Identity: user(test.user, "2", home), Action: "s3:GetObject", Bucket: "bkt", Key: test.key}); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	star := user("alice", "2", home)
	star.Name = "*"
	if Decide(Question{Identity: star, Action: "s3:GetObject", Bucket: "bkt", Key: "home/bob/x"}) == nil {
		t.Error("a name of * is a wildcard")
	}
	old := strings.Replace(home, "2012-10-17", "2008-10-17", 1)
	if Decide(Question{Identity: user("alice", "2", old), Action: "s3:GetObject", Bucket: "bkt", Key: "home/alice/x"}) == nil {
		t.Error("version 2008-10-17 has no variables")
	}
	if err := Decide(Question{Identity: user("alice", "2", old), Action: "s3:GetObject", Bucket: "bkt", Key: "home/${aws:username}/x"}); err != nil {
		t.Error(err)
	}
}

// TestPrincipals says who is meant.
func TestPrincipals(t *testing.T) {
	root := Identity{User: id("0"), Name: RootUser, Account: account, Root: true}
	alice, bob, anybody := user("alice", "2"), user("bob", "3"), AnonymousIdentity()
	for principal, want := range map[string]string{
		`"*"`:           "root alice bob anonymous",
		`{"AWS":"*"}`:   "root alice bob anonymous",
		`{"AWS":["*"]}`: "root alice bob anonymous",
		`{"AWS":"arn:aws:iam::000000000000:user/alice"}`:      "alice",
		`{"AWS":"arn:aws:iam::000000000000:user/path/alice"}`: "alice",
		`{"AWS":["arn:aws:iam:::user/alice","AKbob"]}`:        "alice bob",
		`{"AWS":"alice"}`:                     "alice",
		`"bob"`:                               "bob",
		`["bob","alice"]`:                     "alice bob",
		`{"CanonicalUser":"` + id("3") + `"}`: "bob",
		`{"CanonicalUser":"` + id("3") + `","AWS":"alice"}`: "alice bob",
		`{"AWS":"000000000000"}`:                            "root",
		`{"AWS":"arn:aws:iam::000000000000:root"}`:          "root",
		`{"AWS":"arn:aws:iam::000000000000:user/AKalice"}`:  "",
		`{"AWS":"` + id("2") + `"}`:                         "alice",
	} {
		p, err := ParsePolicy([]byte(`{"Statement":{"Effect":"Allow","Principal":`+principal+`,"Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}}`), "bkt", account, nil)
		if err != nil {
			t.Errorf("%s: %v", principal, err)
			continue
		}
		var got []string
		for name, who := range map[string]Identity{"root": root, "alice": alice, "bob": bob, "anonymous": anybody} {
			e := newEnvironment(&Question{Identity: who, Action: "s3:GetObject", Bucket: "bkt", Key: "k"})
			if p.judge(e, true) == allowed {
				got = append(got, name)
			}
		}
		for _, name := range strings.Fields(want) {
			if !strings.Contains(strings.Join(got, " "), name) {
				t.Errorf("%s: %v, want %s", principal, got, want)
			}
		}
		if len(got) != len(strings.Fields(want)) {
			t.Errorf("%s: %v, want %s", principal, got, want)
		}
	}
	deny := bucketPolicy(t, openGet, `{"Effect":"Deny","NotPrincipal":{"AWS":"alice"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}`)
	everybody := bucketPolicy(t, openGet, `{"Effect":"Deny","Principal":{"AWS":"000000000000"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}`)
	for _, test := range []struct {
		p    *Policy
		who  Identity
		want bool
	}{{deny, alice, true}, {deny, bob, false}, {deny, anybody, false}, {everybody, alice, false}, {everybody, anybody, true}} {
		if err := Decide(Question{Identity: test.who, Action: "s3:GetObject", Bucket: "bkt", Key: "k", Policy: test.p}); (err == nil) != test.want {
			t.Errorf("%s: %v", test.who.Name, err)
		}
	}
}

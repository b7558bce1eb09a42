package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func message(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	if err != nil {
		return err.Error()
	}
	return "OK"
}

func statement(effect, principal, action, resource, condition string) string {
	s := fmt.Sprintf(`{"Statement":[{"Effect":%q,"Principal":%s,"Action":%s,"Resource":%s`, effect, principal, action, resource)
	if condition != "" {
		s += `,"Condition":` + condition
	}
	return s + "}]}"
}

// TestMalformedPolicies checks the words of each refusal.
func TestMalformedPolicies(t *testing.T) {
	const (
		bucket, objects = `"arn:aws:s3:::bkt"`, `"arn:aws:s3:::bkt/*"`
		badJSON         = "This policy contains invalid Json"
		badStart        = "Policies must be valid JSON and the first byte must be '{'"
		badAction       = "Policy has invalid action"
		badPrincipal    = "Invalid principal in policy"
		badResource     = "Policy has invalid resource"
		mismatch        = "Action does not apply to any resource(s) in statement"
		noCondition     = "Conditions do not apply to combination of actions and resources in statement"
	)
	tests := [][2]string{
		{"{true}", badJSON}, {"{asdf", badJSON}, {`{"Principal": "*" `, badJSON}, {"false", badStart}, {"", badStart}, {"[]", badStart}, {`"Statement": []}`, badStart},
		{"{}", "Missing required field Statement"}, {`{"Statement":[]}`, "Could not parse the policy: Statement is empty!"}, {`{"Statement":[1]}`, badJSON},
		{`{"Statement":[{}],"Statement":[{}]}`, badJSON}, {`{"Statement":{}} x`, badJSON}, {`{"Nonsense":1,"Statement":{}}`, "Unknown field Nonsense"},
		{`{"Version":"","Statement":[]}`, "The policy must contain a valid version string"}, {`{"Version":"2012-10-16","Statement":[]}`, "The policy must contain a valid version string"},
		{`{"Statement":{"Principal":"*","Action":"s3:*","Resource":"*"}}`, "Missing required field Effect"},
		{`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`, "Missing required field Principal"},
		{`{"Statement":{"Effect":"Allow","Principal":"*","Resource":"*"}}`, "Missing required field Action"},
		{`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*"}}`, "Missing required field Resource"},
		{`{"Statement":{"Effect":"Allow","NotPrincipal":"*","Action":"s3:*","Resource":"*"}}`, "Allow with NotPrincipal is not allowed."},
		{`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","NotAction":"s3:*","Resource":"*"}}`, "Statement cannot contain both Action and NotAction"},
		{statement("invalid_effect", `"*"`, `"s3:*"`, bucket, ""), "Invalid effect: invalid_effect"},
		{statement("allow", `"*"`, `"s3:*"`, bucket, ""), "Invalid effect: allow"},
		{strings.Replace(statement("Allow", `"*"`, `"s3:*"`, bucket, ""), `"bkt"`, "\"\\u0000\"", 1), "OK"},
		{statement("Allow", "\"a\\u0000\"", `"s3:*"`, bucket, ""), badJSON},
		{strings.Repeat(" ", MaxPolicy) + "{}", "Policy exceeds the maximum allowed document size."},
		{`{"Statement":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", badJSON},
		{`{"Statement":[{"Sid":"a","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"},{"Sid":"a","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}]}`,
			"Statement IDs (SID) in a single policy must be unique."},
		{"{\"Statement\":\"\xff\"}", badJSON},
	}
	for _, a := range []string{`""`, "[]", `"invalid"`, `["invalid"]`, `"s3"`, `"s3:"`, `"s4:GetObject"`, `"ss3:ListBucket"`, `"s3x:PutBucketAcl"`, `":GetObject"`,
		`"s3::GetObject"`, `"s3:Put-Object"`, `"s3:GetObject:"`, `"s3:Put(Object)"`, `"s3:*Obj??ect*"`, `"s3:????"`, `"s3:*:"`, `"*GetObject"`, `"???PutObject"`, `"s3:Abort?"`, `"s3:??Abort*"`, "1"} {
		tests = append(tests, [2]string{statement("Allow", `"*"`, a, bucket, ""), badAction})
	}
	for _, p := range []string{`""`, "[]", `{"AWS":""}`, `{"AWS":[]}`, "{}", `["*","grt1"]`, `{"AWS":["*","a-user"]}`, `{"Service":"s3.amazonaws.com"}`, `{"Federated":"x"}`,
		`{"CanonicalUser":"abc"}`, `{"CanonicalUser":"*"}`, `{"AWS":"arn:aws:iam::999999999999:user/alice"}`, `{"AWS":"arn:aws:iam::000000000000:role/x"}`, `{"AWS":"a/b"}`,
		`{"AWS":"arn:aws:sts::000000000000:user/x"}`, `"nobody"`, "1", "null"} {
		tests = append(tests, [2]string{statement("Allow", p, `"s3:*"`, bucket, ""), badPrincipal})
	}
	for _, r := range []string{`""`, "[]", `"arn:aws:iam:::bkt"`, `"arn:aws:s3:::/bkt"`, `"arn:aws:s3:::"`, `"arn:aws:s3:::prefix-bkt"`, `"arn:aws:s3:::bktx/*"`, `"bkt"`, `"arn:aws:s3:::other/*"`, "1"} {
		tests = append(tests, [2]string{statement("Allow", `"*"`, `"s3:*"`, r, ""), badResource})
	}
	for _, a := range []string{"s3:GetObject", "s3:PutObjectTagging", "s3:GetObjec?", "s3:Abort*", "s3:*Multipart*", "s3:???Object"} {
		tests = append(tests, [2]string{statement("Allow", `"*"`, `"`+a+`"`, bucket, ""), mismatch})
	}
	for _, a := range []string{"s3:ListBucket", "s3:GetBucketTagging", "s3:???BucketVersioning", "s3:*Bucket*", "s3:GetBucket*", "s3:ListAllMyBuckets"} {
		tests = append(tests, [2]string{statement("Allow", `"*"`, `"`+a+`"`, objects, ""), mismatch})
	}
	for operator, want := range map[string]string{"NotARealOperator": "", "stringequals": "", "NullIfExists": "", "ForSomeValues:StringEquals": "", "ForAnyValue:": ""} {
		if want == "" {
			want = "Invalid Condition type : " + operator
		}
		tests = append(tests, [2]string{statement("Allow", `"*"`, `"s3:GetObject"`, objects, `{"`+operator+`":{"aws:UserAgent":"x"}}`), want})
	}
	for condition, want := range map[string]string{
		`{"StringEquals":{"s3:FakeKey":"foo"}}`: "Policy has an invalid condition key", `{"NumericEquals":{"s3:NotARealKey":"5"}}`: "Policy has an invalid condition key",
		`{"IpAddress":{"aws:NotARealIpKey":"10.0.0.0/8"}}`: "Policy has an invalid condition key", `{"StringEquals":{"s3:ExistingObjectTag/":"x"}}`: "Policy has an invalid condition key",
		`{"StringEquals":{"s3:prefix":"foo"}}`: noCondition, `{"StringEquals":{"s3:x-amz-acl":"public-read"}}`: noCondition, `{"StringEquals":{"s3:VersionId":"abc"}}`: noCondition,
		`{"IpAddress":{"aws:SourceIp":"not-an-ip"}}`: "Invalid IP address in Conditions", `{"IpAddress":{"aws:SourceIp":"300.1.1.1/40"}}`: "Invalid IP address in Conditions",
		`{"NotIpAddress":{"aws:SourceIp":"x"}}`: "Invalid IP address in Conditions", `{"Null":{"aws:SourceIp":"true"}}`: "Invalid IP address in Conditions",
		`[]`: badJSON, `{"StringEquals":[]}`: badJSON, `{"StringEquals":{"aws:Referer":{}}}`: badJSON, `{"StringEquals":{"aws:Referer":[]}}`: badJSON,
	} {
		tests = append(tests, [2]string{statement("Allow", `"*"`, `"s3:GetObject"`, objects, condition), want})
	}
	for _, test := range tests {
		_, err := ParsePolicy([]byte(test[0]), "bkt", account, func(p Principal) bool { return p.Name != "nobody" })
		if got := message(err); got != test[1] {
			t.Errorf("%.200s: %q, want %q", test[0], got, test[1])
		}
	}
}

func TestGoodPolicies(t *testing.T) {
	const lists = `["s3:ListBucket","s3:ListBucketMultipartUploads"]`
	if _, err := ParsePolicy([]byte(statement("Allow", `"*"`, lists, `"arn:aws:s3:::bkt"`, "")), "bkt", account, nil); err != nil {
		t.Error(err)
	}
	both := `["arn:aws:s3:::bkt","arn:aws:s3:::bkt/*"]`
	for _, document := range []string{
		statement("Deny", `{"AWS":"*"}`, `"s3:DeleteBucket"`, `"arn:aws:s3:::bkt"`, ""), statement("Allow", `"*"`, `"s3:Get*"`, `"arn:aws:s3:::bkt/*"`, ""),
		statement("Allow", `"u"`, `["s3:PutBucketVersioning","s3:ListMultipartUploadParts","s3:ListBucket"]`, both, ""), statement("Deny", `"usr"`, `"s3:Create*"`, both, ""),
		statement("Allow", `["*"]`, `"*"`, `"*"`, ""), statement("Allow", `"*"`, `"s3:*"`, `"arn:aws:s3:::*"`, ""), statement("Allow", `"*"`, `"s3:GetObject"`, `"arn:aws:s3:::bk?/a*"`, ""),
		statement("Allow", `"*"`, `"s3:GetObject"`, `"arn:aws:s3:::b*"`, ""), statement("Allow", `"*"`, `"S3:getobject"`, `"arn:aws:s3:::bkt/${aws:username}/*"`, ""),
		statement("Allow", `"*"`, `"s3:*"`, both, `{"StringEquals":{"s3:prefix":"a"}}`),
		`{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"1","Effect":"Deny","NotPrincipal":{"AWS":"usr"},"NotAction":"s3:GetObject","NotResource":"arn:aws:s3:::bkt/a"}}`,
	} {
		if _, err := ParsePolicy([]byte(document), "bkt", account, nil); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
	if _, err := ParseUserPolicy([]byte(statement("Allow", `"*"`, `"s3:*"`, `"*"`, ""))); message(err) != "Policy document should not specify a principal." {
		t.Error(err)
	}
}

func TestIsPublic(t *testing.T) {
	for condition, want := range map[string]bool{
		"": true,
		`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`:              false,
		`{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}`:               true,
		`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::/0"]}}`:     true,
		`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`:           true,
		`{"StringEquals":{"aws:PrincipalAccount":"000000000000"}}`: false,
		`{"StringLike":{"aws:userid":"*"}}`:                        true,
		`{"StringEqualsIfExists":{"aws:username":"alice"}}`:        true,
		`{"StringEquals":{"aws:Referer":"https://a.test"}}`:        true,
		`{"Bool":{"aws:SecureTransport":"true"}}`:                  true,
	} {
		p, err := ParsePolicy([]byte(statement("Allow", `"*"`, `"s3:GetObject"`, `"arn:aws:s3:::bkt/*"`, condition)), "bkt", account, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.IsPublic() != want {
			t.Errorf("%s: %v", condition, !want)
		}
		if err := CheckPolicy(p, PublicAccessBlock{BlockPublicPolicy: true}); (err != nil) != want {
			t.Errorf("%s blocked: %v", condition, err)
		}
	}
	for _, document := range []string{statement("Deny", `"*"`, `"s3:*"`, `"*"`, ""), statement("Allow", `"alice"`, `"s3:*"`, `"*"`, "")} {
		p, err := ParsePolicy([]byte(document), "bkt", account, nil)
		if err != nil || p.IsPublic() {
			t.Errorf("%s: public, %v", document, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*c", "abbc", true}, {"a*c", "abb", false}, {"*a*b*", "xxaxxb", true}, {"a?c", "aüc", true}, {"a?c", "ac", false},
		{"*/x", "a/b/x", true}, {literal("*"), "*", true}, {literal("*"), "a", false}, {literal("a?"), "ab", false}, {literal("a\x00b"), "a\x00b", true}, {"a*", "b", false}, {"\x00", "\x00", false},
		{strings.Repeat("*a", 500), strings.Repeat("a", 999) + "b", false},
	} {
		if got := match(test.pattern, test.s); got != test.want {
			t.Errorf("%q, %q: %v", test.pattern, test.s, got)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(statement("Allow", `"*"`, `"s3:*"`, `"arn:aws:s3:::bkt/*"`, `{"StringLike":{"aws:Referer":"${aws:username, 'x'}*"}}`)), "key", "value")
	f.Add([]byte(`{"Version":"2012-10-17","Statement":{"Sid":"1","Effect":"Deny","NotPrincipal":{"AWS":"usr"},"NotAction":"s3:GetObject","NotResource":"arn:aws:s3:::bkt/a"}}`), "", "")
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Principal":{"CanonicalUser":"x"}}]}`), "a", "b")
	f.Fuzz(func(t *testing.T, document []byte, key, value string) {
		p, err := ParsePolicy(document, "bkt", account, nil)
		if err != nil {
			return
		}
		q := Question{Identity: AnonymousIdentity(), Action: "s3:GetObject", Bucket: "bkt", Key: key, Policy: p, Conditions: map[string][]string{"aws:Referer": {value}}}
		open := Decide(q) == nil
		p.IsPublic()
		q.Policy = &Policy{Version: p.Version, Statements: append([]Statement{{Principals: []Principal{{Any: true}}, Actions: []string{"*"}, Resources: []string{"*"}}}, p.Statements...)}
		if Decide(q) == nil {
			t.Error("a deny does not win")
		}
		if open && len(p.Statements) == 0 {
			t.Error("nothing allows")
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		match(pattern, s)
		if !match(literal(s), s) {
			t.Errorf("%q does not match itself", s)
		}
		if !match("*", s) {
			t.Errorf("* does not match %q", s)
		}
	})
}

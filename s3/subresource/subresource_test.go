package subresource

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/catalog"
)

func doc(root, body string) []byte {
	return []byte("<" + root + ` xmlns="` + Namespace + `">` + body + "</" + root + ">")
}

// want checks an error's code, and its message if one is given.
func want(t *testing.T, name string, err error, code, message string) {
	t.Helper()
	var e *Error
	switch {
	case code == "" && err == nil:
	case !errors.As(err, &e) || e.Code != code || message != "" && e.Message != message:
		t.Errorf("%s: got %v, want %q %q", name, err, code, message)
	case e.Status < 400:
		t.Errorf("%s: status %d", name, e.Status)
	}
}

func TestStrictXML(t *testing.T) {
	type inner struct {
		A string   `xml:"A"`
		L []string `xml:"L"`
	}
	type outer struct {
		In *inner `xml:"In"`
	}
	for in, code := range map[string]string{
		"<R><In><A>x</A><L>1</L><L>2</L></In></R>": "",
		"<R/>": "",
		`<?xml version="1.0" encoding="UTF-8"?><R xmlns="` + Namespace + `"/>`: "",
		"<R><!-- c --></R>":                "",
		"":                                 "MalformedXML",
		"<S/>":                             "MalformedXML",
		"<R>":                              "MalformedXML",
		"<R/><R/>":                         "MalformedXML",
		"<R/>x":                            "MalformedXML",
		"<R>x</R>":                         "MalformedXML",
		"<R><Out/></R>":                    "MalformedXML",
		"<R><In><B/></In></R>":             "MalformedXML",
		"<R><In><A>1</A><A>2</A></In></R>": "MalformedXML",
		"<R><In><A><A/></A></In></R>":      "MalformedXML",
		`<R xmlns="http://other/"/>`:       "MalformedXML",
		`<!DOCTYPE R [<!ENTITY e "x">]><R><In><A>&e;</A></In></R>`:        "MalformedXML",
		"<R><In><A>&undefined;</A></In></R>":                              "MalformedXML",
		strings.Repeat("<R>", 1000):                                       "MalformedXML",
		"<R><In><A>" + strings.Repeat("x", MaxDocument) + "</A></In></R>": "MaxMessageLengthExceeded",
	} {
		var v outer
		want(t, in[:min(len(in), 60)], Unmarshal([]byte(in), "R", &v), code, "")
	}
}

func tags(pairs ...string) string {
	var b strings.Builder
	b.WriteString("<TagSet>")
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "<Tag><Key>%s</Key><Value>%s</Value></Tag>", pairs[i], pairs[i+1])
	}
	b.WriteString("</TagSet>")
	return b.String()
}

func TestTagging(t *testing.T) {
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprint("k", i), "v")
	}
	const key, value = "The TagKey you have provided is invalid", "The TagValue you have provided is invalid"
	for _, tt := range []struct{ name, in, code, message string }{
		{"good", tags("a", "b", "ключ +-=._:/@", ""), "", ""},
		{"none", tags(), "", ""},
		{"no set", "", "MalformedXML", ""},
		{"no value", "<TagSet><Tag><Key>a</Key></Tag></TagSet>", "MalformedXML", ""},
		{"long key", tags(strings.Repeat("k", 129), "v"), "InvalidTag", key},
		{"128 runes", tags(strings.Repeat("ü", 128), strings.Repeat("ü", 256)), "", ""},
		{"long value", tags("k", strings.Repeat("v", 257)), "InvalidTag", value},
		{"empty key", tags("", "v"), "InvalidTag", key},
		{"bad key", tags("foo#bar", "v"), "InvalidTag", key},
		{"bad value", tags("k", "a,b"), "InvalidTag", value},
		{"system", tags("aws:x", "v"), "InvalidTag", "System tags cannot be added/updated by requester"},
		{"twice", tags("k", "1", "k", "2"), "InvalidTag", "Cannot provide multiple Tags with the same key"},
		{"51", tags(many...), "BadRequest", "Bucket tag count cannot be greater than 50"},
		{"50", tags(many[:100]...), "", ""},
	} {
		got, err := ParseBucketTagging(doc("Tagging", tt.in))
		want(t, tt.name, err, tt.code, tt.message)
		if err != nil {
			continue
		}
		out, err := EncodeTagging(got)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseBucketTagging(out)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(got) {
			t.Errorf("%s: %v became %v, %v", tt.name, got, back, err)
		}
	}
	_, err := ParseObjectTagging(doc("Tagging", tags(many[:22]...)))
	want(t, "11 object tags", err, "BadRequest", "Object tags cannot be greater than 10")
}

func TestVersioning(t *testing.T) {
	for in, code := range map[string]string{
		"<Status>Enabled</Status>":                                  "",
		"<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>": "",
		"<Status>enabled</Status>":                                  "MalformedXML",
		"":                                                          "IllegalVersioningConfigurationException",
		"<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>": "NotImplemented",
		"<Status>Enabled</Status><MfaDelete>x</MfaDelete>":       "MalformedXML",
	} {
		_, err := ParseVersioning(doc("VersioningConfiguration", in))
		want(t, in, err, code, "")
	}
}

func TestObjectLock(t *testing.T) {
	on := "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
	rule := func(s string) string { return on + "<Rule><DefaultRetention>" + s + "</DefaultRetention></Rule>" }
	const few, much = "Default retention period must be a positive integer value.", "Default retention period too large."
	for _, tt := range []struct{ in, code, message string }{
		{on, "", ""},
		{rule("<Mode>COMPLIANCE</Mode><Days>36500</Days>"), "", ""},
		{rule("<Mode>GOVERNANCE</Mode><Years>100</Years>"), "", ""},
		{"", "MalformedXML", ""},
		{"<ObjectLockEnabled>Disabled</ObjectLockEnabled>", "MalformedXML", ""},
		{on + "<Rule/>", "MalformedXML", ""},
		{rule("<Days>1</Days>"), "MalformedXML", ""},
		{rule("<Mode>x</Mode><Days>1</Days>"), "MalformedXML", ""},
		{rule("<Mode>GOVERNANCE</Mode>"), "MalformedXML", ""},
		{rule("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"), "MalformedXML", ""},
		{rule("<Mode>GOVERNANCE</Mode><Days>x</Days>"), "MalformedXML", ""},
		{rule("<Mode>GOVERNANCE</Mode><Days>0</Days>"), "InvalidArgument", few},
		{rule("<Mode>GOVERNANCE</Mode><Years>-5</Years>"), "InvalidArgument", few},
		{rule("<Mode>GOVERNANCE</Mode><Days>36501</Days>"), "InvalidArgument", much},
		{rule("<Mode>GOVERNANCE</Mode><Years>101</Years>"), "InvalidArgument", much},
	} {
		_, err := ParseObjectLock(doc("ObjectLockConfiguration", tt.in))
		want(t, tt.in, err, tt.code, tt.message)
	}
}

func TestEncryption(t *testing.T) {
	rule := func(s string) string {
		return "<Rule><ApplyServerSideEncryptionByDefault>" + s + "</ApplyServerSideEncryptionByDefault></Rule>"
	}
	for in, code := range map[string]string{
		rule("<SSEAlgorithm>AES256</SSEAlgorithm>"):                                    "",
		rule("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>"): "",
		"":                                       "MalformedXML",
		"<Rule/>":                                "MalformedXML",
		rule("<SSEAlgorithm>aes</SSEAlgorithm>"): "MalformedXML",
		rule("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>"):                          "InvalidArgument",
		rule("<SSEAlgorithm>AES256</SSEAlgorithm>") + rule("<SSEAlgorithm>AES256</SSEAlgorithm>"):              "MalformedXML",
		"<Rule><BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes></Rule>":  "",
		"<Rule><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule>": "NotImplemented",
	} {
		_, err := ParseEncryption(doc("ServerSideEncryptionConfiguration", in))
		want(t, in, err, code, "")
	}
}

func TestOwnershipPublicAccessAndOthers(t *testing.T) {
	owner := func(s string) string { return "<Rule><ObjectOwnership>" + s + "</ObjectOwnership></Rule>" }
	for in, code := range map[string]string{
		owner("ObjectWriter"): "", owner(BucketOwnerEnforced): "", owner("x"): "MalformedXML", "": "MalformedXML",
		owner("ObjectWriter") + owner("ObjectWriter"): "MalformedXML",
	} {
		_, err := ParseOwnership(doc("OwnershipControls", in))
		want(t, in, err, code, "")
	}
	p, err := ParsePublicAccessBlock(doc("PublicAccessBlockConfiguration", "<BlockPublicPolicy>true</BlockPublicPolicy>"))
	if err != nil || p != (PublicAccessBlock{BlockPublicPolicy: true}) {
		t.Errorf("%+v %v", p, err)
	}
	_, err = ParsePublicAccessBlock(doc("PublicAccessBlockConfiguration", "<BlockPublicPolicy>perhaps</BlockPublicPolicy>"))
	want(t, "perhaps", err, "MalformedXML", "")
	enabled := func(s string) string {
		return "<LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix>p</TargetPrefix>" + s + "</LoggingEnabled>"
	}
	for in, code := range map[string]string{
		"": "", enabled(""): "",
		"<LoggingEnabled><TargetPrefix/></LoggingEnabled>":                                   "MalformedXML",
		enabled("<TargetObjectKeyFormat><SimplePrefix/></TargetObjectKeyFormat>"):            "",
		enabled("<TargetObjectKeyFormat/>"):                                                  "MalformedXML",
		enabled("<TargetGrants><Grant><Permission>READ</Permission></Grant></TargetGrants>"): "MalformedXML",
		enabled(`<TargetGrants><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>i</ID></Grantee><Permission>READ</Permission></Grant></TargetGrants>`): "",
	} {
		_, err := ParseLogging(doc("BucketLoggingStatus", in))
		want(t, in, err, code, "")
	}
	for in, code := range map[string]string{"BucketOwner": "", "Requester": "", "Me": "MalformedXML"} {
		_, err := ParsePayment(doc("RequestPaymentConfiguration", "<Payer>"+in+"</Payer>"))
		want(t, in, err, code, "")
	}
	for in, code := range map[string]string{"Enabled": "", "Suspended": "", "": "MalformedXML"} {
		_, err := ParseAccelerate(doc("AccelerateConfiguration", "<Status>"+in+"</Status>"))
		want(t, in, err, code, "")
	}
}

func TestCreateBucket(t *testing.T) {
	loc, tg, err := ParseCreateBucket(doc("CreateBucketConfiguration",
		"<LocationConstraint>eu-west-1</LocationConstraint><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>"))
	if err != nil || loc == nil || *loc != "eu-west-1" || fmt.Sprint(tg) != fmt.Sprint([]catalog.Tag{{Key: "a", Value: "b"}}) {
		t.Errorf("%v %v %v", loc, tg, err)
	}
	if loc, tg, err := ParseCreateBucket(nil); loc != nil || tg != nil || err != nil {
		t.Errorf("%v %v %v", loc, tg, err)
	}
	_, _, err = ParseCreateBucket(doc("CreateBucketConfiguration", "<Bucket><Type>Directory</Type></Bucket>"))
	want(t, "directory bucket", err, "NotImplemented", "")
	_, _, err = ParseCreateBucket([]byte("x"))
	want(t, "no XML", err, "MalformedXML", "")
}

func TestValidBucketName(t *testing.T) {
	for name, ok := range map[string]bool{
		"abc": true, "a.b-c": true, "0ab": true, strings.Repeat("a", 63): true, "test-bucket-1": true, "1.2.3.x": true,
		"": false, "ab": false, strings.Repeat("a", 64): false, "Abc": false, "a_b": false, ".abc": false, "abc.": false, "-abc": false,
		"abc-": false, "a..b": false, "192.168.5.4": false, "999.1.1.1": false, "xn--abc": false, "sthree-abc": false, "abc-s3alias": false,
		"abc--ol-s3": false, "bucket-%": false, "bücket": false, "a/b": false, "a\x00b": false,
	} {
		if ValidBucketName(name) != ok {
			t.Errorf("%q: %v, want %v", name, !ok, ok)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add(doc("Tagging", tags("a", "b")))
	f.Add(doc("ObjectLockConfiguration", "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"))
	f.Add(doc("ServerSideEncryptionConfiguration", "<Rule/>"))
	f.Add(doc("BucketLoggingStatus", ""))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tags, err := ParseBucketTagging(data); err == nil {
			out, err := EncodeTagging(tags)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseBucketTagging(out); err != nil {
				t.Fatalf("what was written does not parse: %v\n%s", err, out)
			}
		}
		if l, err := ParseLogging(data); err == nil {
			out, err := Marshal("BucketLoggingStatus", l)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseLogging(out); err != nil {
				t.Fatalf("what was written does not parse: %v\n%s", err, out)
			}
		}
		for _, err := range []error{
			drop(ParseObjectLock(data)), drop(ParseEncryption(data)), drop(ParseOwnership(data)), drop(ParseVersioning(data)),
			drop(ParsePublicAccessBlock(data)), drop(ParsePayment(data)), drop(ParseAccelerate(data)),
		} {
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("an error without an S3 code: %v", err)
			}
		}
	})
}

func drop[T any](_ T, err error) error { return err }

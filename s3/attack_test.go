package s3_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/s3"
)

// matrixRoutes lists every route of the routing table with the body that the
// matrix sends. A route that is missing here fails TestAttackMatrix: whoever
// adds one says what an attacker would send to it.
func matrixRoutes() map[string]string {
	const open = `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::attacked","arn:aws:s3:::attacked/*"]}}`
	none := func(names ...string) map[string]string {
		m := make(map[string]string)
		for _, n := range names {
			m[n] = ""
		}
		return m
	}
	m := none("GetObject", "HeadObject", "CopyObject", "DeleteObject", "GetObjectAttributes", "GetObjectTagging", "DeleteObjectTagging", "GetObjectAcl",
		"GetObjectRetention", "GetObjectLegalHold", "CreateMultipartUpload", "UploadPartCopy", "AbortMultipartUpload", "ListParts", "ListMultipartUploads",
		"ListObjects", "ListObjectsV2", "ListObjectVersions", "GetObjectTorrent", "RenameObject", "ListBuckets", "CreateBucket", "HeadBucket", "DeleteBucket",
		"GetBucketLocation", "GetBucketVersioning", "GetBucketTagging", "DeleteBucketTagging", "GetBucketCors", "DeleteBucketCors", "GetBucketPolicy",
		"DeleteBucketPolicy", "GetBucketPolicyStatus", "GetPublicAccessBlock", "DeletePublicAccessBlock", "GetBucketOwnershipControls",
		"DeleteBucketOwnershipControls", "GetBucketAcl", "GetObjectLockConfiguration", "GetBucketEncryption", "DeleteBucketEncryption", "GetBucketWebsite",
		"DeleteBucketWebsite", "GetBucketNotificationConfiguration", "GetBucketLogging", "GetBucketRequestPayment", "GetBucketAccelerateConfiguration",
		"GetBucketLifecycleConfiguration", "DeleteBucketLifecycle", "GetBucketReplication", "DeleteBucketReplication")
	for noun, list := range map[string]string{"AnalyticsConfiguration": "ListBucketAnalyticsConfigurations", "InventoryConfiguration": "ListBucketInventoryConfigurations",
		"MetricsConfiguration": "ListBucketMetricsConfigurations", "IntelligentTieringConfiguration": "ListBucketIntelligentTieringConfigurations"} {
		m[list], m["GetBucket"+noun], m["PutBucket"+noun], m["DeleteBucket"+noun] = "", "", "<"+noun+"/>", ""
	}
	for name, body := range map[string]string{
		"PutObject": "overwritten", "UploadPart": "a part", "PostObject": "", "PutBucketPolicy": open,
		"DeleteObjects":           "<Delete><Object><Key>key</Key></Object></Delete>",
		"CompleteMultipartUpload": "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
		"RestoreObject":           "<RestoreRequest/>", "SelectObjectContent": "<SelectObjectContentRequest/>",
		"PutObjectTagging":                   "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
		"PutObjectAcl":                       "<AccessControlPolicy/>",
		"PutObjectRetention":                 "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>",
		"PutObjectLegalHold":                 "<LegalHold><Status>ON</Status></LegalHold>",
		"PutBucketVersioning":                "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
		"PutBucketTagging":                   "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
		"PutBucketCors":                      "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
		"PutPublicAccessBlock":               "<PublicAccessBlockConfiguration/>",
		"PutBucketOwnershipControls":         "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
		"PutBucketAcl":                       "<AccessControlPolicy/>",
		"PutObjectLockConfiguration":         "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
		"PutBucketEncryption":                "<ServerSideEncryptionConfiguration/>",
		"PutBucketWebsite":                   "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument></WebsiteConfiguration>",
		"PutBucketNotificationConfiguration": "<NotificationConfiguration/>",
		"PutBucketLogging":                   "<BucketLoggingStatus/>",
		"PutBucketRequestPayment":            "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
		"PutBucketAccelerateConfiguration":   "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>",
		"PutBucketLifecycleConfiguration":    "<LifecycleConfiguration/>",
		"PutBucketReplication":               "<ReplicationConfiguration/>",
	} {
		m[name] = body
	}
	return m
}

// attack is one column of the matrix: who comes how, and what must be said.
type attack struct {
	who  caller
	by   mode
	want []string // codes; any of them
}

func (f *field) attacks() map[string]attack {
	wrong := caller{f.root.key, f.root.secret + "x"}
	nobody := caller{"HLNOBODYATALL", "secretsecret"}
	denied, mismatch, unknown := []string{"AccessDenied"}, []string{"SignatureDoesNotMatch"}, []string{"InvalidAccessKeyId"}
	modes := map[string]mode{
		"header": byHeader, "unsigned payload": byUnsignedPayload, "presigned": byQuery,
		"signed stream": streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "signed stream with trailer": streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
		"unsigned stream with trailer": streaming("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
	}
	all := map[string]attack{
		"none":        {by: byNothing, want: denied},
		"form":        {who: f.mallory, by: byForm, want: []string{"AccessDenied", "BadDigest"}},
		"V2":          {who: f.root, by: byV2, want: []string{"InvalidRequest"}},
		"V2 query":    {who: f.root, by: byV2Query, want: []string{"InvalidRequest"}},
		"two at once": {who: f.root, by: byBoth, want: []string{"InvalidArgument"}},
	}
	for name, by := range modes {
		all[name+", no rights"] = attack{f.mallory, by, denied}
		all[name+", wrong secret"] = attack{wrong, by, mismatch}
		all[name+", unknown key"] = attack{nobody, by, unknown}
		all[name+", a header unsigned"] = attack{f.root, func(t testing.TB, who caller, c call) *http.Request {
			r := by(t, who, c)
			r.Header.Set("X-Amz-Bypass-Governance-Retention", "true")
			return r
		}, denied}
		all[name+", another method"] = attack{f.root, func(t testing.TB, who caller, c call) *http.Request {
			method := c.method
			c.method = "PATCH"
			r := by(t, who, c)
			r.Method = method
			return r
		}, mismatch}
		all[name+", another path"] = attack{f.root, func(t testing.TB, who caller, c call) *http.Request {
			path := c.path
			c.path = "/somewhere/else"
			r := by(t, who, c)
			r.URL.Path = path
			return r
		}, mismatch}
		all[name+", a parameter added"] = attack{f.root, func(t testing.TB, who caller, c call) *http.Request {
			r := by(t, who, c)
			r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&x-id=Evil", "&")
			return r
		}, mismatch}
	}
	return all
}

// outcome runs one cell; "" is as it must be.
func (f *field) outcome(t testing.TB, r s3.Route, body string, a attack) string {
	t.Helper()
	got := f.attack(t, a.by(t, a.who, f.callOf(r, body)))
	if got.code == "InvalidRequest" && (got.message == "The value of x-amz-content-sha256 header is invalid." || r.Method == http.MethodHead) && r.Name != "PutObject" && r.Name != "UploadPart" {
		return "" // a stream where there is no object to stream
	}
	if strings.Contains(got.body, canary) {
		return fmt.Sprintf("%v gives the secret away", got)
	}
	if r.Name == "DeleteObjects" && got.status == http.StatusOK && strings.Contains(got.body, "<Error><Key>key</Key><Code>AccessDenied</Code>") {
		return "" // answered for each key
	}
	if got.status < 400 || !slices.Contains(a.want, got.code) {
		return fmt.Sprintf("%v, want %v", got, a.want)
	}
	return ""
}

// TestAttackMatrix tries every way to authenticate, wrongly, on every route of
// the routing table. All must be refused in the right words, give nothing
// away and change nothing.
func TestAttackMatrix(t *testing.T) {
	f := openField(t)
	bodies := matrixRoutes()
	listed := make(map[string]bool)
	before := f.state(t)
	for _, r := range s3.Routes() {
		listed[r.Name] = true
		body, ok := bodies[r.Name]
		if !ok {
			t.Errorf("route %s is not in the attack matrix: list it in matrixRoutes", r.Name)
			continue
		}
		for name, a := range f.attacks() {
			if r.Name == "PostObject" {
				continue // see TestPostAttacks
			}
			if bad := f.outcome(t, r, body, a); bad != "" {
				t.Errorf("%s %v by %s: %s", r.Name, r.Query, name, bad)
			}
		}
	}
	for name := range bodies {
		if !listed[name] {
			t.Logf("the matrix lists %s, which is no route", name)
		}
	}
	if after := f.state(t); after != before {
		t.Errorf("refused requests changed something:\n%s\n%s", before, after)
	}
}

// TestAttackMatrixControl takes the permissions away: the matrix must notice on
// every route whose handler does not ask again itself.
func TestAttackMatrixControl(t *testing.T) {
	f := openField(t)
	f.server.Unguard()
	noticed := 0
	for _, r := range s3.Routes() {
		if r.Method != "GET" && r.Method != "HEAD" {
			continue // would change the field
		}
		if f.outcome(t, r, "", attack{f.mallory, byHeader, []string{"AccessDenied"}}) != "" {
			noticed++
		} else if r.Name == "GetObject" || r.Name == "ListObjects" || r.Name == "GetBucketPolicy" {
			t.Errorf("%s without its permission goes unnoticed", r.Name)
		}
	}
	if noticed < 20 {
		t.Errorf("the matrix notices %d missing permissions alone", noticed)
	}
}

// TestRightfulCallers: every mode works for who has the right, so that the
// refusals above are not for another reason.
func TestRightfulCallers(t *testing.T) {
	f := openField(t)
	for name, by := range map[string]mode{
		"header": byHeader, "unsigned payload": byUnsignedPayload, "presigned": byQuery,
		"signed stream": streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "signed stream with trailer": streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
		"unsigned stream with trailer": streaming("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
	} {
		calls := []call{{method: "GET", path: "/attacked/key"}, {method: "PUT", path: "/attacked/" + name, body: "content"}, {method: "PUT", path: "/attacked/empty " + name}}
		if strings.Contains(name, "stream") {
			calls = calls[1:]
		}
		for _, c := range calls {
			if got := f.attack(t, by(t, f.root, c)); got.status != http.StatusOK {
				t.Errorf("%s %s by %s: %v", c.method, c.path, name, got)
			}
		}
		got := f.attack(t, byHeader(t, f.root, call{method: "GET", path: "/attacked/" + name}))
		if got.body != "content" {
			t.Errorf("%s: %q", name, got.body)
		}
	}
	v2 := openField(t, func(c *s3.Config) { c.AllowV2 = true })
	if got := v2.attack(t, byV2(t, v2.root, call{method: "GET", path: "/attacked/key"})); got.status != http.StatusOK {
		t.Errorf("V2, allowed: %v", got)
	}
	if got := v2.attack(t, byV2(t, v2.mallory, call{method: "GET", path: "/attacked/key"})); got.code != "AccessDenied" {
		t.Errorf("V2, no rights: %v", got)
	}
}

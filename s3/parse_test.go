package s3

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return "?" + err.Error()
	}
	return ""
}

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		header string
		size   int64
		want   span
		ok     bool
		code   string
	}{
		{"", 10, span{}, false, ""},
		{"bytes=0-0", 10, span{0, 1}, true, ""},
		{"bytes=0-", 10, span{0, 10}, true, ""},
		{"bytes=3-99", 10, span{3, 7}, true, ""},
		{"bytes=00-01", 10, span{0, 2}, true, ""},
		{"bytes=-3", 10, span{7, 3}, true, ""},
		{"bytes=-99", 10, span{0, 10}, true, ""},
		{"bytes=9-99999999999999999999999", 10, span{9, 1}, true, ""},
		{"bytes=-0", 10, span{}, false, "InvalidRange"},
		{"bytes=10-", 10, span{}, false, "InvalidRange"},
		{"bytes=99999999999999999999999-", 10, span{}, false, "InvalidRange"},
		{"bytes=0-0", 0, span{}, false, "InvalidRange"},
		{"bytes=-1", 0, span{}, false, ""},
		{"bytes=5-4", 10, span{}, false, ""},
		{"bytes=0-0,2-3", 10, span{}, false, ""},
		{"bytes=-", 10, span{}, false, ""},
		{"bytes= 0-1", 10, span{}, false, ""},
		{"bytes=+1-2", 10, span{}, false, ""},
		{"items=0-1", 10, span{}, false, ""},
		{"bytes 0-1", 10, span{}, false, ""},
	} {
		got, ok, err := parseRange(c.header, c.size)
		if got != c.want || ok != c.ok || codeOf(err) != c.code {
			t.Errorf("%q of %d: %v %v %v, want %v %v %q", c.header, c.size, got, ok, err, c.want, c.ok, c.code)
		}
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-5", int64(10))
	f.Add("bytes=-5", int64(3))
	f.Add("bytes=9223372036854775807-", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		if r, ok, err := parseRange(header, size); ok && (err != nil || r.first < 0 || r.length < 1 || r.length > size-r.first) {
			t.Fatalf("%q of %d: %+v, %v", header, size, r, err)
		}
		if r, err := parseCopyRange(header, size); err == nil && (r.first < 0 || r.length < 1 || r.length > size-r.first) {
			t.Fatalf("copy %q of %d: %+v", header, size, r)
		}
	})
}

func TestParseCopySource(t *testing.T) {
	id := string(catalog.RevisionID(7))
	for _, c := range []struct {
		header string
		want   copySource
		code   string
	}{
		{"bucket/key", copySource{"bucket", "key", ""}, ""},
		{"/bucket/key", copySource{"bucket", "key", ""}, ""},
		{"bucket//key", copySource{"bucket", "/key", ""}, ""},
		{"bucket/a%2Fb%20c+d", copySource{"bucket", "a/b c+d", ""}, ""},
		{"bucket%2Fkey", copySource{"bucket", "key", ""}, ""},
		{"bucket/../x", copySource{"bucket", "../x", ""}, ""},
		{"bucket/key?versionId=" + id, copySource{"bucket", "key", catalog.VersionID(id)}, ""},
		{"bucket/key?versionId=null", copySource{"bucket", "key", "null"}, ""},
		{"bucket%2Fkey%3FversionId%3Dnull", copySource{"bucket", "key", "null"}, ""},
		{"bucket/key?x=y", copySource{"bucket", "key?x=y", ""}, ""},
		{"bucket", copySource{}, "InvalidArgument"},
		{"bucket/", copySource{}, "InvalidArgument"},
		{"", copySource{}, "InvalidArgument"},
		{"bucket/%zz", copySource{}, "InvalidArgument"},
		{"bucket/%ff", copySource{}, "InvalidArgument"},
		{"bucket/a%00b", copySource{}, "InvalidArgument"},
		{"192.168.1.1/k", copySource{}, "InvalidArgument"},
		{"buc@ket/k", copySource{}, "InvalidArgument"},
		{"bucket/key?versionId=../../x", copySource{}, "InvalidArgument"},
		{"bucket/" + strings.Repeat("k", 1025), copySource{}, "KeyTooLongError"},
	} {
		got, err := parseCopySource(c.header)
		if codeOf(err) != c.code || err == nil && got != c.want {
			t.Errorf("%q: %+v, %v; want %+v %q", c.header, got, err, c.want, c.code)
		}
	}
}

func FuzzCopySource(f *testing.F) {
	f.Add("bucket/key?versionId=null")
	f.Add("/bucket/%2e%2e/key%3FversionId%3Dnull")
	f.Fuzz(func(t *testing.T, header string) {
		c, err := parseCopySource(header)
		if err == nil && (c.bucket == "" || strings.Contains(c.bucket, "/") || c.key == "" || len(c.key) > catalog.MaxKey || !utf8.ValidString(c.key) || strings.ContainsRune(c.key, 0)) {
			t.Fatalf("%q: %+v", header, c)
		}
	})
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		host, uri   string
		bucket, key string
		code        string
	}{
		{"s3.example", "/", "", "", ""},
		{"s3.example", "/b", "b", "", ""},
		{"s3.example", "/b/", "b", "", ""},
		{"s3.example", "/b//k", "b", "/k", ""},
		{"s3.example", "/b/../c/./d//", "b", "../c/./d//", ""},
		{"s3.example", "/b/%2e%2e/%2Fk", "b", "..//k", ""},
		{"s3.example", "/b/a%252Fb", "b", "a%2Fb", ""},
		{"s3.example", "/b/a+b?x", "b", "a+b", ""},
		{"b.s3.example:9000", "/k", "b", "k", ""},
		{"b.S3.Example", "//k", "b", "/k", ""},
		{"x.y.s3.example", "/k", "x.y", "k", ""},
		{"other.example", "/b/k", "b", "k", ""},
		{"s3.example", "/b/%00", "b", "", "InvalidURI"},
		{"s3.example", "/b/%ff", "b", "", "InvalidURI"},
		{"s3.example", "/b/" + strings.Repeat("k", 1025), "b", "", "KeyTooLongError"},
	} {
		r := httptest.NewRequest("GET", "http://h"+c.uri, nil)
		r.Host, r.RequestURI = c.host, c.uri
		a, err := parseAddress(r, []string{"s3.example"})
		if codeOf(err) != c.code || a.bucket != c.bucket || err == nil && a.key != c.key {
			t.Errorf("%s%s: %+v, %v", c.host, c.uri, a, err)
		}
	}
}

func TestReadConditions(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	before, after := at.Add(-time.Hour).Format(http.TimeFormat), at.Add(time.Hour).Format(http.TimeFormat)
	same := at.Format(http.TimeFormat)
	for _, c := range []struct {
		match, noneMatch, modified, unmodified string
		code                                   string
	}{
		{"", "", "", "", ""},
		{`"e"`, "", "", "", ""}, {"e", "", "", "", ""}, {"*", "", "", "", ""}, {`"x", "e"`, "", "", "", ""},
		{`"x"`, "", "", "", "PreconditionFailed"},
		{`"e"`, "", "", before, ""}, // If-Match overrules If-Unmodified-Since
		{"", "", "", before, "PreconditionFailed"}, {"", "", "", after, ""}, {"", "", "", same, ""},
		{"", `"e"`, "", "", "NotModified"}, {"", "*", "", "", "NotModified"}, {"", `"x"`, "", "", ""},
		{"", `"x"`, after, "", ""}, // If-None-Match overrules If-Modified-Since
		{"", "", after, "", "NotModified"}, {"", "", same, "", "NotModified"}, {"", "", before, "", ""},
		{`"e"`, `"e"`, "", "", "NotModified"}, {`"x"`, `"e"`, "", "", "PreconditionFailed"},
		{"", "", "nonsense", "nonsense", ""},
	} {
		h := http.Header{}
		for n, v := range map[string]string{"If-Match": c.match, "If-None-Match": c.noneMatch, "If-Modified-Since": c.modified, "If-Unmodified-Since": c.unmodified} {
			if v != "" {
				h.Set(n, v)
			}
		}
		if got := codeOf(parseReadConditions(h, "").check("e", at)); got != c.code {
			t.Errorf("%+v: %q", c, got)
		}
		want := c.code
		if want == "NotModified" {
			want = "PreconditionFailed"
		}
		if got := codeOf(parseReadConditions(h, "").checkSource("e", at)); got != want {
			t.Errorf("source %+v: %q", c, got)
		}
	}
}

func TestWritePrecondition(t *testing.T) {
	for _, c := range []struct {
		header, value string
		code          string
	}{
		{"If-Match", `"e"`, ""}, {"If-None-Match", "*", ""}, {"If-None-Match", `"e"`, "NotImplemented"},
		{"If-Modified-Since", "x", "NotImplemented"}, {"If-Unmodified-Since", "x", "NotImplemented"},
	} {
		_, err := writePrecondition(http.Header{c.header: {c.value}})
		if codeOf(err) != c.code {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := writePrecondition(http.Header{"If-Match": {"e"}, "If-None-Match": {"*"}}); codeOf(err) != "NotImplemented" {
		t.Error(err)
	}
}

func TestTags(t *testing.T) {
	long := strings.Repeat("k", 129)
	many := "a=1"
	for _, c := range "bcdefghijk" {
		many += "&" + string(c) + "=1"
	}
	for header, code := range map[string]string{
		"": "", "&&": "", "a": "", "a=b&c": "", "a+b=c%2Bd": "", "ключ=значение": "",
		"=": "InvalidArgument", "a%": "InvalidArgument", "a=1&a=2": "InvalidArgument", "%ff=1": "InvalidArgument",
		"a?=b": "InvalidTag", "a=b!": "InvalidTag", "aws:x=1": "InvalidTag", long + "=1": "InvalidTag",
		"a=" + strings.Repeat("v", 257): "InvalidTag", many: "BadRequest",
	} {
		if _, err := parseTagHeader(header); codeOf(err) != code {
			t.Errorf("%.40q: %v, want %q", header, err, code)
		}
	}
}

func TestMetadata(t *testing.T) {
	h := http.Header{"X-Amz-Meta-Name": {"a", "b"}, "X-Amz-Meta-Enc": {"=?UTF-8?B?w4RNw4Raw5XDkSBTMw==?="}, "X-Amz-Meta-Raw": {"größe"}, "X-Amz-Meta-Latin": {"\xe4"}, "X-Amz-Acl": {"private"}}
	m, err := parseUserMetadata(h)
	if err != nil || m["name"] != "a,b" || m["enc"] != "ÄMÄZÕÑ S3" || m["raw"] != "größe" || m["latin"] != "ä" || len(m) != 4 {
		t.Errorf("%q %v", m, err)
	}
	for in, want := range map[string]string{"plain": "plain", "ÄMÄZÕÑ S3": "=?UTF-8?b?w4RNw4Raw5XDkSBTMw==?=", "a\nb": "=?UTF-8?b?YQpi?="} {
		if got := encodeMetadata(in); !strings.EqualFold(got, want) || strings.ContainsAny(got, "\r\n") {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if back := decodeMetadata(encodeMetadata(in)); back != in {
			t.Errorf("%q comes back as %q", in, back)
		}
	}
	if _, err := parseUserMetadata(http.Header{"X-Amz-Meta-K": {strings.Repeat("v", 2047)}}); err != nil {
		t.Error("2 KiB were refused:", err)
	}
	if _, err := parseUserMetadata(http.Header{"X-Amz-Meta-K": {strings.Repeat("v", 2048)}}); codeOf(err) != "MetadataTooLarge" {
		t.Error("more than 2 KiB were taken:", err)
	}
}

func TestVersionIDs(t *testing.T) {
	for s, code := range map[string]string{
		"null": "", string(catalog.RevisionID(1)): "",
		"3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY": "InvalidArgument", "3HL4kqtJlcpXrof3vjVBH40Nrjfkd.5_": "",
		"0d1c4b3c-1111-2222-3333-444455556666": "", "01ARZ3NDEKTSV4RRFFQ69G5FAV": "",
		"x": "InvalidArgument", "../../secret.txt": "InvalidArgument", "invalid_version_id": "InvalidArgument",
	} {
		if _, err := checkVersionID(s); codeOf(err) != code {
			t.Errorf("%q: %v, want %q", s, err, code)
		}
	}
}

func TestParseXML(t *testing.T) {
	type doc struct {
		A string
	}
	deep := strings.Repeat("<b>", 40) + strings.Repeat("</b>", 40)
	for text, ok := range map[string]bool{
		`<D><A>x</A></D>`:                       true,
		`<?xml version="1.0"?><D><A>x</A></D> `: true,
		`<D xmlns="` + Namespace + `"><A/></D>`: true,
		`<E/>`:                                  false,
		``:                                      false,
		`<D>`:                                   false,
		`<D/><D/>`:                              false,
		`<D/>x`:                                 false,
		`<!DOCTYPE d [<!ENTITY e "x">]><D/>`:    false,
		`<D><A>&e;</A></D>`:                     false,
		`<?php x?><D/>`:                         false,
		`<D>` + deep + `</D>`:                   false,
		"<D>\xff</D>":                           false,
		`<?xml version="1.0"?><D><A></D></A>`:   false,
		`<D><A>` + strings.Repeat("<x/>", 200001): false,
	} {
		var d doc
		if err := parseXML([]byte(text), "D", &d); (err == nil) != ok || err != nil && codeOf(err) != "MalformedXML" {
			t.Errorf("%.60q: %v, want ok=%v", text, err, ok)
		}
	}
}

func FuzzXML(f *testing.F) {
	f.Add([]byte(`<Delete><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>`))
	f.Add([]byte(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>`))
	f.Add([]byte(`<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var d deleteDocument
		if parseXML(doc, "Delete", &d) == nil {
			for i := range d.Objects {
				var p catalog.Precondition
				_ = d.Objects[i].parseConditions(&p)
			}
		}
		var c completeDocument
		if parseXML(doc, "CompleteMultipartUpload", &c) == nil {
			for i := range c.Parts {
				if p, _, err := c.Parts[i].part(); err == nil && p.Number < 1 {
					t.Fatal(p)
				}
			}
		}
		var g tagging
		if parseXML(doc, "Tagging", &g) == nil {
			if tags, err := g.tags(); err == nil && len(tags) > maxObjectTags {
				t.Fatal(tags)
			}
		}
		var r retentionDocument
		if parseXML(doc, "Retention", &r) == nil {
			_, _ = r.retention(time.Unix(0, 0))
		}
	})
}

func FuzzListParams(f *testing.F) {
	f.Add("prefix=a&delimiter=/&max-keys=10&encoding-type=url")
	f.Add("max-keys=-1&key-marker=%ff")
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		p, err := parseListParams(query, "max-keys")
		if err == nil && (p.limit < 0 || p.limit > maxListed) {
			t.Fatalf("%q: %+v", raw, p)
		}
		if p.encoding == "url" {
			if back, err := url.QueryUnescape(p.text(p.prefix)); err != nil || back != p.prefix {
				t.Fatalf("%q does not decode: %v", p.text(p.prefix), err)
			}
		}
		if key, err := decodeToken(query.Get("continuation-token")); err == nil && encodeToken(key) == "" {
			t.Fatal(key)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbody\r\n--b--\r\n", "multipart/form-data; boundary=b")
	f.Fuzz(func(t *testing.T, body, kind string) {
		r := httptest.NewRequest("POST", "/b", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		form, err := readForm(r)
		if err != nil {
			return
		}
		if key, err := form.key(); err == nil && (key == "" || len(key) > catalog.MaxKey) {
			t.Fatal(key)
		}
		form.header()
	})
}

func TestRouter(t *testing.T) {
	rt := newRouter(operations())
	for _, c := range []struct {
		method string
		scope  scope
		query  string
		header string
		want   string // operation, or "!" and the error code
	}{
		{"GET", scopeObject, "", "", "GetObject"},
		{"GET", scopeObject, "x-id=GetObject&partNumber=1&versionId=null", "", "GetObject"},
		{"GET", scopeObject, "uploadId=x", "", "ListParts"},
		{"PUT", scopeObject, "", "x-amz-copy-source", "CopyObject"},
		{"PUT", scopeObject, "partNumber=1&uploadId=x", "", "UploadPart"},
		{"PUT", scopeObject, "partNumber=1&uploadId=x", "x-amz-copy-source", "UploadPartCopy"},
		{"PUT", scopeObject, "partNumber=1", "", "!InvalidArgument"},
		{"PUT", scopeObject, "uploadId=1", "", "!MethodNotAllowed"},
		{"PUT", scopeObject, "torrent", "", "!MethodNotAllowed"},
		{"DELETE", scopeObject, "acl", "", "!MethodNotAllowed"},
		{"GET", scopeObject, "uploads", "", "!InvalidRequest"},
		{"GET", scopeObject, "versions", "", "!InvalidRequest"},
		{"GET", scopeObject, "", "x-amz-copy-source", "!InvalidArgument"},
		{"POST", scopeObject, "", "", "!MethodNotAllowed"},
		{"PATCH", scopeObject, "", "", "!MethodNotAllowed"},
		{"GET", scopeBucket, "list-type=2&prefix=x", "", "ListObjectsV2"},
		{"GET", scopeBucket, "list-type=3", "", "ListObjects"},
		{"GET", scopeBucket, "versions", "", "ListObjectVersions"},
		{"GET", scopeBucket, "uploads", "", "ListMultipartUploads"},
		{"POST", scopeBucket, "delete", "", "DeleteObjects"},
		{"POST", scopeBucket, "", "", "PostObject"},
		{"DELETE", scopeBucket, "tagging", "", "DeleteBucketTagging"},
		{"DELETE", scopeBucket, "acl", "", "!MethodNotAllowed"}, // not DeleteBucket!
		{"DELETE", scopeBucket, "versioning", "", "!MethodNotAllowed"},
		{"DELETE", scopeService, "", "", "!MethodNotAllowed"},
	} {
		query, _ := url.ParseQuery(c.query)
		h := http.Header{}
		if c.header != "" {
			h.Set(c.header, "bucket/key")
		}
		op, err := rt.find(c.method, c.scope, query, h)
		got := "!" + codeOf(err)
		if err == nil {
			got = op.name
		}
		if got != c.want {
			t.Errorf("%s %v ?%s %s: %s, want %s", c.method, c.scope, c.query, c.header, got, c.want)
		}
	}
}

package postpolicy

import (
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/s3/sigv4"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func message(err error) string {
	var e *sigv4.Error
	if errors.As(err, &e) {
		return e.Message
	}
	if err != nil {
		return err.Error()
	}
	return "OK"
}

func TestParseErrors(t *testing.T) {
	with := func(conditions string) string {
		return b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":` + conditions + `}`)
	}
	for name, test := range map[string]struct{ field, want string }{
		"empty":             {"", "Invalid Policy: Expecting '{' but found End-of-Input"},
		"not base64":        {"invalid_base64", "Invalid Policy: invalid Base64 encoding."},
		"not JSON":          {b64("invalid json"), "Invalid Policy: Invalid JSON."},
		"null":              {b64("null"), "Invalid Policy: Invalid JSON."},
		"trailing":          {b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[]}{}`), "Invalid Policy: Invalid JSON."},
		"no expiration":     {b64(`{"conditions":[]}`), "Invalid Policy: Policy missing expiration."},
		"wrong type":        {b64(`{"expiration":true,"conditions":[]}`), "Invalid Policy: Invalid JSON."},
		"bad expiration":    {b64(`{"expiration":"invalid","conditions":[]}`), "Invalid Policy: Invalid 'expiration' value: 'invalid'"},
		"no conditions":     {b64(`{"expiration":"2030-01-01T00:00:00Z"}`), "Invalid Policy: Policy missing conditions."},
		"conditions type":   {with("true"), "Invalid Policy: Invalid 'conditions' value: must be a List."},
		"conditions null":   {with("null"), "Invalid Policy: Invalid 'conditions' value: must be a List."},
		"condition type":    {with("[true]"), "Invalid Policy: Invalid condition test: must be a List or Object."},
		"extra":             {b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[],"extra":1}`), `Invalid Policy: Unexpected: "extra"`},
		"no operation":      {with("[[]]"), "Invalid Policy: Invalid Condition: missing operation identifier."},
		"unknown operation": {with(`[["invalid","$a","b"]]`), "Invalid Policy: Invalid Condition: unknown operation 'invalid'."},
		"arguments":         {with(`[["eq","$a","b","c"]]`), "Invalid Policy: Invalid eq: wrong number of arguments."},
		"field type":        {with(`[["eq",false,"b"]]`), "Invalid Policy: Invalid JSON."},
		"value type":        {with(`[["eq","$a",true]]`), "Invalid Policy: Invalid JSON."},
		"value null":        {with(`[["eq","$a",null]]`), "Invalid Policy: Invalid JSON."},
		"range type":        {with(`[["content-length-range",12,false]]`), "Invalid Policy: Invalid JSON."},
		"range word":        {with(`[["content-length-range","invalid","14"]]`), "Invalid Policy: Invalid JSON."},
		"range negative":    {with(`[["content-length-range",-1,14]]`), "Invalid Policy: Invalid JSON."},
		"two properties":    {with(`[{"a":"b","c":"d"}]`), "Invalid Policy: Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."},
		"simple value":      {with(`[{"a":true}]`), "Invalid Policy: Invalid Simple-Condition: value must be a string."},
		"too long":          {strings.Repeat("A", 40<<10), "Your POST request fields preceding the upload file were too large."},
		"good":              {with(`[{"a":"b"},["starts-with","$k",""],["content-length-range",1,"10"]]`), "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.field)
			if got := message(err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	p, err := Parse(b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[
		{"bucket":"b"},["starts-with","$key","user/"],["eq","$Content-Type","text/plain"],{"x-amz-meta-a":"1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	good := sigv4.Form{"key": "user/${filename}", "content-type": "text/plain", "x-amz-meta-a": "1", "policy": "p", "x-amz-signature": "s", "x-ignore-me": "1"}
	at := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	change := func(name, value string) sigv4.Form {
		f := maps.Clone(good)
		f[name] = value
		if value == "-" {
			delete(f, name)
		}
		return f
	}
	for name, test := range map[string]struct {
		form   sigv4.Form
		bucket string
		now    time.Time
		want   string
	}{
		"good":              {good, "b", at, "OK"},
		"bucket field":      {change("bucket", "b"), "b", at, "OK"},
		"other bucket":      {good, "c", at, `Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "b"]`},
		"lying bucket":      {change("bucket", "c"), "b", at, `Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "b"]`},
		"expired":           {good, "b", at.AddDate(2, 0, 0), "Invalid according to Policy: Policy expired."},
		"expires now":       {good, "b", time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), "Invalid according to Policy: Policy expired."},
		"other key":         {change("key", "other"), "b", at, `Invalid according to Policy: Policy Condition failed: ["starts-with","$key","user/"]`},
		"missing field":     {change("x-amz-meta-a", "-"), "b", at, `Invalid according to Policy: Policy Condition failed: ["eq", "$x-amz-meta-a", "1"]`},
		"uncovered field":   {change("x-amz-meta-b", "1"), "b", at, "Invalid according to Policy: Extra input fields: x-amz-meta-b"},
		"uncovered acl":     {change("acl", "public-read"), "b", at, "Invalid according to Policy: Extra input fields: acl"},
		"uncovered empty":   {change("tagging", ""), "b", at, "Invalid according to Policy: Extra input fields: tagging"},
		"other type":        {change("content-type", "text/html"), "b", at, `Invalid according to Policy: Policy Condition failed: ["eq","$Content-Type","text/plain"]`},
		"case of the value": {change("content-type", "Text/Plain"), "b", at, `Invalid according to Policy: Policy Condition failed: ["eq","$Content-Type","text/plain"]`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := message(p.Check(test.form, test.bucket, test.now)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestBucketMustBeCovered(t *testing.T) {
	p, err := Parse(b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[{"key":"k"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []sigv4.Form{{"key": "k"}, {"key": "k", "bucket": "b"}} {
		if got := message(p.Check(form, "b", time.Unix(0, 0))); got != "Invalid according to Policy: Extra input fields: bucket" {
			t.Errorf("%v: %s", form, got)
		}
	}
}

func TestContentTypes(t *testing.T) {
	p, err := Parse(b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"b"},["starts-with","$content-type","text/"]]}`))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"text/plain": true, "text/plain, text/html": true, "text/plain, image/jpeg": false, "": false} {
		if got := p.Check(sigv4.Form{"content-type": value}, "b", time.Unix(0, 0)) == nil; got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestLength(t *testing.T) {
	p, err := Parse(b64(`{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",5,20],["content-length-range",1,10]]}`))
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int64]string{4: "EntityTooSmall", 5: "", 10: "", 11: "EntityTooLarge"} {
		var e *sigv4.Error
		got := ""
		if errors.As(p.CheckLength(n), &e) {
			got = e.Code
		}
		if got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	for _, s := range []string{"", "{}", `{"expiration":"2030-01-01T00:00:00Z","conditions":[{"a":"b"},["starts-with","$k",""],["content-length-range",1,10]]}`} {
		f.Add(b64(s), "key")
	}
	f.Fuzz(func(t *testing.T, field, name string) {
		p, err := Parse(field)
		if err != nil {
			return
		}
		form := sigv4.Form{strings.ToLower(name): "value"}
		if p.Check(form, "b", p.Expiration.Add(-1)) == nil {
			return
		}
		if p.Check(form, "b", p.Expiration) == nil {
			t.Error("an expired policy is accepted")
		}
	})
}

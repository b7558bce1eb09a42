package lifecycle

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func wrap(rules ...string) string {
	return `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>` + strings.Join(rules, "</Rule><Rule>") + "</Rule></LifecycleConfiguration>"
}

func parse(t testing.TB, rules ...string) *Configuration {
	t.Helper()
	c, err := Parse([]byte(wrap(rules...)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	enabled = "<Status>Enabled</Status>"
	all     = "<Filter/>" + enabled
	days    = "<Expiration><Days>3</Days></Expiration>"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, c := range map[string]struct{ xml, code, message string }{
		"days":               {wrap(all + days), "", ""},
		"old form":           {wrap("<Prefix>a</Prefix>" + enabled + days), "", ""},
		"date":               {wrap(all + "<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>"), "", ""},
		"plain date":         {wrap(all + "<Expiration><Date>2030-01-01</Date></Expiration>"), "", ""},
		"marker":             {wrap(all + "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), "", ""},
		"no marker":          {wrap(all + "<Expiration><ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker></Expiration>"), "", ""},
		"noncurrent":         {wrap(all + "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "", ""},
		"abort":              {wrap(all + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "", ""},
		"and":                {wrap("<Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>" + enabled + days), "", ""},
		"tag":                {wrap("<Filter><Tag><Key>k</Key><Value></Value></Tag></Filter>" + enabled + days), "", ""},
		"comment at the end": {wrap(all+days) + "\n<!-- x -->\n", "", ""},

		"empty":               {"", "MalformedXML", "well-formed"},
		"no rule":             {"<LifecycleConfiguration></LifecycleConfiguration>", "MalformedXML", ""},
		"other root":          {"<Lifecycle/>", "MalformedXML", ""},
		"unknown element":     {wrap(all + days + "<What/>"), "MalformedXML", ""},
		"garbage after":       {wrap(all+days) + "<x/>", "MalformedXML", ""},
		"status":              {wrap("<Filter/><Status>enabled</Status>" + days), "MalformedXML", ""},
		"no filter":           {wrap(enabled + days), "MalformedXML", ""},
		"filter and prefix":   {wrap("<Prefix/>" + all + days), "MalformedXML", ""},
		"two conditions":      {wrap("<Filter><Prefix>a</Prefix><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter>" + enabled + days), "MalformedXML", ""},
		"two tags":            {wrap("<Filter><Tag><Key>a</Key></Tag><Tag><Key>b</Key></Tag></Filter>" + enabled + days), "MalformedXML", ""},
		"and of one":          {wrap("<Filter><And><Prefix>a</Prefix></And></Filter>" + enabled + days), "MalformedXML", ""},
		"days and date":       {wrap(all + "<Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>"), "MalformedXML", ""},
		"empty expiration":    {wrap(all + "<Expiration/>"), "MalformedXML", ""},
		"no number":           {wrap(all + "<Expiration><Days>x</Days></Expiration>"), "MalformedXML", ""},
		"no noncurrent days":  {wrap(all + "<NoncurrentVersionExpiration><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "MalformedXML", ""},
		"no action":           {wrap(all), "InvalidRequest", "At least one action"},
		"no days":             {wrap(all + "<Expiration><Days>0</Days></Expiration>"), "InvalidArgument", "positive"},
		"negative days":       {wrap(all + "<Expiration><Days>-1</Days></Expiration>"), "InvalidArgument", "positive"},
		"date at noon":        {wrap(all + "<Expiration><Date>2030-01-01T12:00:00Z</Date></Expiration>"), "InvalidArgument", "midnight"},
		"date in zone":        {wrap(all + "<Expiration><Date>2030-01-01T00:00:00+02:00</Date></Expiration>"), "InvalidArgument", "midnight"},
		"newer":               {wrap(all + "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "InvalidArgument", "100"},
		"noncurrent 0":        {wrap(all + "<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>"), "InvalidArgument", "positive"},
		"abort 0":             {wrap(all + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidArgument", "positive"},
		"abort by tag":        {wrap("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>" + enabled + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidRequest", "Tags"},
		"abort by size":       {wrap("<Filter><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter>" + enabled + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidRequest", "Size"},
		"marker by tag":       {wrap("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>" + enabled + "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), "InvalidRequest", "Tags"},
		"same ids":            {wrap("<ID>a</ID>"+all+days, "<ID>a</ID>"+all+days), "InvalidArgument", "unique"},
		"long id":             {wrap("<ID>" + long + "</ID>" + all + days), "InvalidArgument", "255"},
		"sizes":               {wrap("<Filter><And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And></Filter>" + enabled + days), "InvalidRequest", "ObjectSizeLessThan"},
		"same tags":           {wrap("<Filter><And><Tag><Key>k</Key><Value>1</Value></Tag><Tag><Key>k</Key><Value>2</Value></Tag></And></Filter>" + enabled + days), "InvalidRequest", "Duplicate"},
		"tag without key":     {wrap("<Filter><Tag><Value>v</Value></Tag></Filter>" + enabled + days), "InvalidTag", "TagKey"},
		"transition":          {wrap(all + "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"), "InvalidStorageClass", "storage class"},
		"noncurrent transit.": {wrap(all + "<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionTransition>"), "InvalidStorageClass", ""},
		"1001 rules":          {wrap(strings.Split(strings.Repeat(all+days+"|", 1000)+all+days, "|")...), "MalformedXML", ""},
	} {
		got, err := Parse([]byte(c.xml))
		var e *Error
		switch {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.code != "" && (!errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.message) || !errors.Is(err, hallig.ErrInvalid)):
			t.Errorf("%s: %v, want %s", name, err, c.code)
		case err == nil:
			again, err := got.Encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := Parse(again)
			if err != nil || !reflect.DeepEqual(got, back) {
				t.Errorf("%s: %s comes back as %+v, %v", name, again, back, err)
			}
		}
	}
	if c := parse(t, all+days); len(c.Rules[0].ID) == 0 {
		t.Error("a rule without an id must get one")
	}
}

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestExpiration(t *testing.T) {
	c := parse(t,
		"<ID>logs/3</ID><Filter><Prefix>logs/</Prefix></Filter>"+enabled+days,
		"<ID>off</ID><Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration>",
		"<ID>big</ID><Filter><ObjectSizeGreaterThan>100</ObjectSizeGreaterThan></Filter>"+enabled+"<Expiration><Days>10</Days></Expiration>",
		"<ID>tag</ID><Filter><And><Prefix>t/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>"+enabled+"<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
	)
	for name, x := range map[string]struct {
		o    Object
		when string
		rule string
	}{
		"prefix":    {Object{Key: "logs/x", Modified: at("2026-01-15 10:30")}, "2026-01-19 00:00", "logs/3"},
		"midnight":  {Object{Key: "logs/x", Modified: at("2026-01-15 00:00")}, "2026-01-18 00:00", "logs/3"},
		"earliest":  {Object{Key: "logs/x", Size: 101, Modified: at("2026-01-15 10:30")}, "2026-01-19 00:00", "logs/3"},
		"big":       {Object{Key: "x", Size: 101, Modified: at("2026-01-15 10:30")}, "2026-01-26 00:00", "big"},
		"not big":   {Object{Key: "x", Size: 100, Modified: at("2026-01-15 10:30")}, "", ""},
		"tagged":    {Object{Key: "t/x", Tags: []catalog.Tag{{Key: "z", Value: "z"}, {Key: "a", Value: "b"}}, Modified: at("2026-01-15 10:30")}, "2030-01-01 00:00", "tag"},
		"other tag": {Object{Key: "t/x", Tags: []catalog.Tag{{Key: "a", Value: "c"}}}, "", ""},
	} {
		when, rule, ok := c.Expiration(x.o)
		if ok != (x.when != "") || ok && (!when.Equal(at(x.when)) || rule != x.rule) {
			t.Errorf("%s: %v %q %v", name, when, rule, ok)
		}
	}
	got := c.ExpirationHeader(Object{Key: "logs/x", Modified: at("2026-01-15 10:30")})
	if want := `expiry-date="Mon, 19 Jan 2026 00:00:00 GMT", rule-id="logs%2F3"`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if c.ExpirationHeader(Object{Key: "x"}) != "" {
		t.Error("a header without a rule")
	}
}

func TestNoncurrentMarkerAbort(t *testing.T) {
	c := parse(t,
		"<ID>n</ID>"+all+"<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
		"<ID>m</ID><Filter><Prefix>m/</Prefix></Filter>"+enabled+"<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
		"<ID>d</ID><Filter><Prefix>d/</Prefix></Filter>"+enabled+days,
		"<ID>a</ID><Filter><Prefix>u/</Prefix></Filter>"+enabled+"<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
	)
	since := at("2026-01-15 10:30")
	if _, _, ok := c.Noncurrent(Object{Key: "x"}, since, 2); ok {
		t.Error("the newest three noncurrent versions stay")
	}
	if when, rule, ok := c.Noncurrent(Object{Key: "x"}, since, 3); !ok || rule != "n" || !when.Equal(at("2026-01-18 00:00")) {
		t.Error(when, rule, ok)
	}
	if _, _, ok := c.Marker("x", since); ok {
		t.Error("no rule for this marker")
	}
	if when, _, ok := c.Marker("m/x", since); !ok || !when.Equal(since) {
		t.Error("ExpiredObjectDeleteMarker is at once")
	}
	if when, _, ok := c.Marker("d/x", since); !ok || !when.Equal(at("2026-01-19 00:00")) {
		t.Error("a lone marker goes with its age")
	}
	if when, rule, ok := c.Abort("u/x", since); !ok || rule != "a" || !when.Equal(at("2026-01-23 00:00")) {
		t.Error(when, rule, ok)
	}
	if _, _, ok := c.Abort("x", since); ok {
		t.Error("no rule for this upload")
	}
	if !c.Acts() {
		t.Error("it acts")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(wrap(all + days)))
	f.Add([]byte(wrap("<Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>" + enabled + days)))
	f.Add([]byte(wrap("<Prefix/>" + enabled + "<Expiration><Date>2030-01-01</Date></Expiration>")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Fatalf("not an S3 error: %v", err)
			}
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(out); err != nil || len(back.Rules) != len(c.Rules) {
			t.Fatalf("%q comes back as %s: %v", b, out, err)
		}
		c.Expiration(Object{Key: "x"})
	})
}

package s3

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
)

// The documents of lists as encoding/xml writes them: what the appenders are
// held against.
type (
	wantList struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		Xmlns          string   `xml:"xmlns,attr"`
		Name           string
		Prefix         string
		Marker         string
		NextMarker     string `xml:",omitempty"`
		MaxKeys        int
		Delimiter      string `xml:",omitempty"`
		EncodingType   string `xml:",omitempty"`
		IsTruncated    bool
		Contents       []wantObject
		CommonPrefixes []commonPrefix
	}
	wantListV2 struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Xmlns                 string   `xml:"xmlns,attr"`
		Name                  string
		Prefix                string
		ContinuationToken     string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
		StartAfter            string `xml:",omitempty"`
		KeyCount              int
		MaxKeys               int
		Delimiter             string `xml:",omitempty"`
		EncodingType          string `xml:",omitempty"`
		IsTruncated           bool
		Contents              []wantObject
		CommonPrefixes        []commonPrefix
	}
	wantVersions struct {
		XMLName             xml.Name `xml:"ListVersionsResult"`
		Xmlns               string   `xml:"xmlns,attr"`
		Name                string
		Prefix              string
		KeyMarker           string
		VersionIDMarker     string `xml:"VersionIdMarker"`
		NextKeyMarker       string `xml:",omitempty"`
		NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
		MaxKeys             int
		Delimiter           string `xml:",omitempty"`
		EncodingType        string `xml:",omitempty"`
		IsTruncated         bool
		Entries             []wantVersion
		CommonPrefixes      []commonPrefix
	}
	wantObject struct {
		Key               string
		VersionID         string `xml:"VersionId,omitempty"`
		IsLatest          *bool  `xml:",omitempty"`
		LastModified      string
		ETag              string `xml:",omitempty"`
		ChecksumAlgorithm string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
		Size              *int64 `xml:",omitempty"`
		StorageClass      string `xml:",omitempty"`
		Owner             *owner `xml:",omitempty"`
	}
	wantVersion struct {
		marker bool
		wantObject
	}
)

func (v wantVersion) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	start.Name.Local = "Version"
	if v.marker {
		start.Name.Local = "DeleteMarker"
	}
	return e.EncodeElement(v.wantObject, start)
}

// wantText encodes as the appender should.
func wantText(p listParams, s string) string {
	if p.encoding != "url" {
		return s
	}
	return strings.NewReplacer("%2F", "/", "%2A", "*").Replace(url.QueryEscape(s))
}

func wantOf(p listParams, v *catalog.Summary, owners bool) wantObject {
	o := wantObject{Key: wantText(p, v.Key), LastModified: isoTime(time.UnixMilli(v.Modified)), ETag: quote(v.ETag),
		ChecksumAlgorithm: v.ChecksumAlgorithm, ChecksumType: v.ChecksumType, Size: &v.Size, StorageClass: storageClass(v.StorageClass)}
	if owners {
		o.Owner = &owner{ID: v.Owner}
	}
	return o
}

// TestListDocuments holds the appended documents of random pages against those
// of encoding/xml, byte by byte.
func TestListDocuments(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	for range 300 {
		p := listParams{prefix: randomText(rng), delimiter: randomText(rng), limit: rng.IntN(1001)}
		if rng.IntN(2) == 0 {
			p.encoding = "url"
		}
		page := randomPage(rng)
		bucket, marker, token, id := "bucket", randomText(rng), randomText(rng), catalog.VersionID(randomText(rng))
		owners := rng.IntN(2) == 0
		v1 := wantList{Xmlns: Namespace, Name: bucket, Prefix: wantText(p, p.prefix), Marker: wantText(p, marker), MaxKeys: p.limit,
			Delimiter: wantText(p, p.delimiter), EncodingType: p.encoding, IsTruncated: page.Truncated}
		v2 := wantListV2{Xmlns: Namespace, Name: bucket, Prefix: v1.Prefix, ContinuationToken: token, StartAfter: v1.Marker, KeyCount: len(page.Items),
			MaxKeys: p.limit, Delimiter: v1.Delimiter, EncodingType: p.encoding, IsTruncated: page.Truncated}
		versions := wantVersions{Xmlns: Namespace, Name: bucket, Prefix: v1.Prefix, KeyMarker: v1.Marker, VersionIDMarker: string(id), MaxKeys: p.limit,
			Delimiter: v1.Delimiter, EncodingType: p.encoding, IsTruncated: page.Truncated}
		if page.Truncated {
			v1.NextMarker, v2.NextContinuationToken = wantText(p, page.Next.Key), encodeToken(page.Next.Key)
			versions.NextKeyMarker, versions.NextVersionIDMarker = v1.NextMarker, string(page.Next.Version)
		}
		for i := range page.Items {
			it := &page.Items[i]
			if it.Prefix != "" {
				cp := commonPrefix{wantText(p, it.Prefix)}
				v1.CommonPrefixes, v2.CommonPrefixes = append(v1.CommonPrefixes, cp), append(v2.CommonPrefixes, cp)
				versions.CommonPrefixes = append(versions.CommonPrefixes, cp)
				continue
			}
			v1.Contents = append(v1.Contents, wantOf(p, &it.Version, true))
			v2.Contents = append(v2.Contents, wantOf(p, &it.Version, owners))
			o := wantOf(p, &it.Version, true)
			o.VersionID, o.IsLatest = string(it.Version.ID), &it.Version.Latest
			if it.Version.DeleteMarker {
				o = wantObject{Key: o.Key, VersionID: o.VersionID, IsLatest: o.IsLatest, LastModified: o.LastModified, Owner: o.Owner}
			}
			versions.Entries = append(versions.Entries, wantVersion{it.Version.DeleteMarker, o})
		}
		for _, c := range []struct {
			list lister
			want any
		}{
			{listV1{bucket, marker}, &v1},
			{listV2{bucket, marker, token, owners}, &v2},
			{listVersions{bucket, catalog.Marker{Key: marker, Version: id}}, &versions},
		} {
			d := &listDocument{url: p.encoding == "url"}
			c.list.document(d, p, &page)
			want, err := renderXML(c.want)
			if err != nil {
				t.Fatal(err)
			}
			if string(d.b) != string(want) {
				t.Fatalf("%T:\n%s\nwant\n%s", c.list, d.b, want)
			}
		}
	}
}

func randomPage(rng *rand.Rand) catalog.Page {
	page := catalog.Page{Truncated: rng.IntN(2) == 0, Next: catalog.Marker{Key: randomText(rng), Version: catalog.VersionID(randomText(rng))}}
	for range rng.IntN(6) {
		if rng.IntN(3) == 0 {
			page.Items = append(page.Items, catalog.Item{Prefix: "p" + randomText(rng)})
			continue
		}
		page.Items = append(page.Items, catalog.Item{Version: catalog.Summary{
			Key: "k" + randomText(rng), ID: catalog.VersionID(randomText(rng)), Latest: rng.IntN(2) == 0, DeleteMarker: rng.IntN(3) == 0,
			Modified: rng.Int64N(4e12), Size: rng.Int64(), ETag: fmt.Sprintf("%x-%d", rng.Uint64(), rng.IntN(9)), StorageClass: []string{"", "GLACIER"}[rng.IntN(2)],
			Owner: randomText(rng), ChecksumAlgorithm: []string{"", "CRC32"}[rng.IntN(2)], ChecksumType: []string{"", "COMPOSITE"}[rng.IntN(2)],
		}})
	}
	return page
}

// randomText is a string of what needs care: XML's and URLs' own characters,
// controls, what XML cannot hold, and what is not UTF-8.
func randomText(rng *rand.Rand) string {
	parts := []string{"a", "Z", "9", "/", "*", "+", "%", " ", "<", ">", "&", `"`, "'", "\t", "\n", "\r", "\x01", "\x7f", "ü", "世", "\U0001F30A", "\uFFFE", "\uFFFD", "\xff", "]]>", "~", "-", "_", "."}
	var b strings.Builder
	for range rng.IntN(8) {
		b.WriteString(parts[rng.IntN(len(parts))])
	}
	return b.String()
}

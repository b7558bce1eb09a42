package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// listCurrent answers a list of current objects: after says where it goes on,
// and list what its document looks like.
func (s *Server) listCurrent(ctx context.Context, q *request, after catalog.Marker, list lister) error {
	p, err := parseListParams(q.query, "max-keys")
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	page, err := s.list(ctx, q, p.query(catalog.ListCurrent, after))
	if err != nil {
		return err
	}
	return q.sendList(p, &page, list)
}

// list asks the store for a page; a limit of 0 is answered without asking.
func (s *Server) list(ctx context.Context, q *request, cq catalog.Query) (catalog.Page, error) {
	if cq.Limit == 0 {
		return catalog.Page{}, nil
	}
	page, err := s.cfg.Store.List(ctx, q.bucketName, cq)
	if err != nil {
		return page, q.writeError(err, catalog.Precondition{})
	}
	return page, nil
}

// A lister writes the document of one kind of list.
type lister interface {
	document(d *listDocument, p listParams, page *catalog.Page)
}

// maxPooled bounds the bytes of a buffer that is kept for the next list.
const maxPooled = 2 << 20

// sendList answers with a page.
func (q *request) sendList(p listParams, page *catalog.Page, list lister) error {
	d, _ := q.s.lists.Get().(*listDocument)
	if d == nil {
		d = &listDocument{}
	}
	d.b, d.url = d.b[:0], p.encoding == "url"
	list.document(d, p, page)
	err := q.sendDocument(http.StatusOK, d.b)
	if cap(d.b) <= maxPooled {
		q.s.lists.Put(d)
	}
	return err
}

// A listDocument is a list's XML as it is written. Lists are the one kind of
// document that is large and asked for often, so they are appended by hand;
// a test holds the result against encoding/xml's.
type listDocument struct {
	b   []byte
	url bool // encoded values are percent-encoded
}

func (d *listDocument) open(root string) {
	d.b = append(append(append(d.b, xml.Header...), '<'), root...)
	d.b = append(append(append(d.b, ` xmlns="`...), Namespace...), `">`...)
}

func (d *listDocument) begin(name string) {
	d.b = append(append(append(d.b, '<'), name...), '>')
}

func (d *listDocument) close(name string) {
	d.b = append(append(append(d.b, '<', '/'), name...), '>')
}

// text writes an element whose value is escaped for XML.
func (d *listDocument) text(name, value string) {
	d.begin(name)
	d.b = appendXML(d.b, value)
	d.close(name)
}

func (d *listDocument) textUnlessEmpty(name, value string) {
	if value != "" {
		d.text(name, value)
	}
}

// encoded writes an element with a key, prefix, delimiter or marker, encoded as
// the request asked.
func (d *listDocument) encoded(name, value string) {
	if !d.url {
		d.text(name, value)
		return
	}
	d.begin(name)
	d.b = appendURL(d.b, value)
	d.close(name)
}

func (d *listDocument) encodedUnlessEmpty(name, value string) {
	if value != "" {
		d.encoded(name, value)
	}
}

func (d *listDocument) number(name string, n int64) {
	d.begin(name)
	d.b = strconv.AppendInt(d.b, n, 10)
	d.close(name)
}

func (d *listDocument) boolean(name string, v bool) {
	d.begin(name)
	d.b = strconv.AppendBool(d.b, v)
	d.close(name)
}

func (d *listDocument) time(name string, ms int64) {
	d.begin(name)
	d.b = appendISOTime(d.b, ms)
	d.close(name)
}

// contents writes the objects of a list of current ones.
func (d *listDocument) contents(items []catalog.Item, owners bool) {
	for i := range items {
		if it := &items[i]; it.Prefix == "" {
			d.begin("Contents")
			d.encoded("Key", it.Version.Key)
			d.object(&it.Version)
			if owners {
				d.owner(it.Version.Owner)
			}
			d.close("Contents")
		}
	}
}

// object writes what lists tell of any object behind its key and version.
func (d *listDocument) object(v *catalog.Summary) {
	d.time("LastModified", v.Modified)
	d.b = append(d.b, "<ETag>&#34;"...)
	d.b = append(appendXML(d.b, v.ETag), "&#34;</ETag>"...)
	d.textUnlessEmpty("ChecksumAlgorithm", v.ChecksumAlgorithm)
	d.textUnlessEmpty("ChecksumType", v.ChecksumType)
	d.number("Size", v.Size)
	d.text("StorageClass", storageClass(v.StorageClass))
}

func (d *listDocument) owner(id string) {
	d.begin("Owner")
	d.text("ID", id)
	d.close("Owner")
}

func (d *listDocument) commonPrefixes(items []catalog.Item) {
	for i := range items {
		if p := items[i].Prefix; p != "" {
			d.begin("CommonPrefixes")
			d.encoded("Prefix", p)
			d.close("CommonPrefixes")
		}
	}
}

// appendXML appends s as encoding/xml would escape it.
func appendXML(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			var slow bytes.Buffer
			xml.EscapeText(&slow, []byte(s)) //nolint:errcheck // a bytes.Buffer takes every write
			return append(b, slow.Bytes()...)
		}
	}
	return append(b, s...)
}

// appendURL appends s in the encoding of encoding-type=url: as forms do, but
// slashes and asterisks stay. Nothing of it needs escaping in XML.
func appendURL(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/', c == '*':
			b = append(b, c)
		case c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// appendISOTime appends a time in unix milliseconds as isoTime writes it.
func appendISOTime(b []byte, ms int64) []byte {
	t := time.UnixMilli(ms).UTC()
	b = t.AppendFormat(b, time.RFC3339) // ends with Z
	n := t.Nanosecond() / 1e6
	return append(b[:len(b)-1], '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10), 'Z')
}

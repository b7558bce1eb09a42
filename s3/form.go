package s3

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/hallig-cloud/hallig/s3/sigv4"
)

// maxFormFields bounds what a form may hold before its file. S3 allows 20 KB;
// the boundaries and headers of the parts come on top here.
const maxFormFields = 64 << 10

// A form is the part of a POST form before its file, and the file.
type form struct {
	fields   sigv4.Form // names in lower case
	filename string
	file     io.Reader
}

// readForm reads a POST form up to the first byte of its file, which must be
// the last field that counts: what follows it is ignored, as on S3. It holds at
// most maxFormFields bytes.
func readForm(r *http.Request) (*form, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return nil, preconditionFailed("Bucket POST must be of the enclosure-type multipart/form-data")
	}
	if err != nil || params["boundary"] == "" {
		return nil, fail("MalformedPOSTRequest")
	}
	source := &gate{r: r.Body, left: maxFormFields}
	parts := multipart.NewReader(source, params["boundary"])
	f := &form{fields: make(sigv4.Form)}
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil, invalidArgument("file", "0", "POST requires exactly one file upload per request.")
		}
		if err != nil {
			return nil, formError(err)
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			source.open()
			f.filename, f.file = part.FileName(), part
			return f, nil
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, formError(err)
		}
		if name == "" {
			continue
		}
		if _, twice := f.fields[name]; twice {
			return nil, invalidArgument(name, string(value), "POST fields may not be repeated")
		}
		f.fields[name] = string(value)
	}
}

func formError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return fail("MalformedPOSTRequest").Because(err)
}

// A gate lets left bytes through, and all once it is open.
type gate struct {
	r      io.Reader
	left   int
	opened bool
}

func (g *gate) open() { g.opened = true }

// Read fails with MaxPostPreDataLengthExceeded where the fields get too long.
func (g *gate) Read(p []byte) (int, error) {
	if g.opened {
		return g.r.Read(p) //nolint:wrapcheck // a reader passes errors on
	}
	if g.left <= 0 {
		return 0, fail("MaxPostPreDataLengthExceeded")
	}
	n, err := g.r.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err //nolint:wrapcheck // a reader passes errors on
}

// header turns the fields into the headers that a PUT would have. Nothing of
// the request's own headers is in it: no signature covers them.
func (f *form) header() http.Header {
	h := make(http.Header)
	for name, value := range f.fields {
		switch {
		case name == "acl":
			h.Set("X-Amz-Acl", value)
		case name == "content-type", name == "cache-control", name == "content-disposition", name == "content-encoding",
			name == "content-language", name == "expires", name == "content-md5", strings.HasPrefix(name, "x-amz-"):
			h.Set(name, value)
		}
	}
	for _, name := range []string{"x-amz-tagging", "x-amz-copy-source", "x-amz-trailer", "x-amz-bypass-governance-retention"} {
		h.Del(name) // a form has its own way, or none
	}
	return h
}

// key returns the object's key: ${filename} stands for the name of the file as
// the browser gave it, without its directories.
func (f *form) key() (string, error) {
	key, ok := f.fields["key"]
	if !ok {
		return "", invalidArgument("key", "", "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.")
	}
	name := f.filename
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	key = strings.ReplaceAll(key, "${filename}", name)
	if key == "" {
		return "", failMessage("InvalidArgument", "User key must have a length greater than 0.").With("ArgumentName", "key").With("ArgumentValue", "")
	}
	return key, checkKey(key)
}

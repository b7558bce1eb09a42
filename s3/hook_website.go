package s3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/website"
)

// websiteLabel stands between bucket and domain in the host of a website:
// BUCKET.s3-website.DOMAIN.
const websiteLabel = "s3-website"

// website answers requests to a website host; done says that it did. The
// caller of a website is nobody: what is served must be public.
func (s *Server) website(ctx context.Context, q *request) (done bool, err error) {
	bucket, base, ok := websiteHost(q.r.Host, s.cfg.Domains)
	if !ok {
		return false, nil
	}
	v := &visit{s: s, q: q}
	if bucket == "" {
		q.set("Location", scheme(q.r)+"://"+base+"/")
		v.page(&Error{Code: "WebsiteRedirect", Message: "Request does not contain a bucket name.", Status: http.StatusMovedPermanently}, nil)
		return true, nil
	}
	if err := v.address(bucket); err != nil {
		v.page(fromError(err), nil)
		return true, nil
	}
	if err := v.answer(ctx); err != nil {
		v.page(fromError(err), nil)
	}
	return true, nil
}

// websiteHost splits a website host into the bucket and the host (with its
// port) that carries none. It is no website host when ok is false; the bucket
// is "" if the host names none.
func websiteHost(host string, domains []string) (bucket, base string, ok bool) {
	name, port := host, ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, ":"+p
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, d := range domains {
		site := websiteLabel + "." + strings.ToLower(d)
		if name == site {
			return "", site + port, true
		}
		if b, found := strings.CutSuffix(name, "."+site); found {
			return b, site + port, true
		}
	}
	return "", "", false
}

// scheme returns how the request came.
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// A visit is one request to a website.
type visit struct {
	s      *Server
	q      *request
	config website.Config
	at     website.Request
}

// address takes bucket and key from host and path, whole.
func (v *visit) address(bucket string) error {
	path, _, _ := strings.Cut(v.q.r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		path = v.q.r.URL.EscapedPath()
	}
	key, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil {
		return fail("InvalidURI").Because(err)
	}
	v.q.bucketName, v.q.key, v.q.virtualHost = bucket, key, true
	v.at = website.Request{Scheme: scheme(v.q.r), Host: v.q.r.Host, Key: key, Query: v.q.r.URL.RawQuery}
	return checkKey(key)
}

// answer serves, redirects, or returns the error to show without an error
// document.
func (v *visit) answer(ctx context.Context) error {
	q := v.q
	switch q.r.Method {
	case http.MethodOptions:
		return v.s.preflight(ctx, q)
	case http.MethodGet, http.MethodHead:
	default:
		q.set("Allow", "GET, HEAD, OPTIONS")
		return fail("MethodNotAllowed").With("Method", q.r.Method).With("ResourceType", scopeObject.String())
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	doc := b.Documents[objects.DocWebsite]
	if doc == nil {
		return fail("NoSuchWebsiteConfiguration").With("BucketName", q.bucketName)
	}
	if v.config, err = website.Parse(doc); err != nil {
		return err
	}
	if err := v.s.cors(ctx, q); err != nil {
		return err
	}
	if to, ok := v.config.Before(v.at); ok {
		return v.redirect(to)
	}
	err = v.serve(ctx, v.config.Object(v.at.Key))
	if err == nil || q.w.status != 0 {
		return err
	}
	return v.failed(ctx, fromError(err))
}

// failed goes on after reading the object failed before anything was sent.
func (v *visit) failed(ctx context.Context, e *Error) error {
	if e.Status < 400 || e.Status >= 500 {
		return e
	}
	if index, to, ok := v.config.Directory(v.at); ok && e.Status == http.StatusNotFound && v.readable(ctx, index) {
		return v.redirect(to)
	}
	if to, ok := v.config.After(v.at, e.Status); ok {
		return v.redirect(to)
	}
	if v.config.Error == nil {
		return e
	}
	if nested := v.errorDocument(ctx, e); nested != nil {
		v.page(e, nested)
	}
	return nil
}

// as turns the request into an anonymous GetObject or HeadObject of key and
// authorizes it.
func (v *visit) as(ctx context.Context, key string) error {
	q := v.q
	q.key, q.query, q.version, q.versioned = key, url.Values{}, "", false
	q.auth = anonymousCredentials()
	op, err := v.s.router.find(q.r.Method, scopeObject, q.query, http.Header{})
	if err != nil {
		return err
	}
	q.op = op
	return v.s.authorize(ctx, q)
}

func (v *visit) serve(ctx context.Context, key string) error {
	if err := v.as(ctx, key); err != nil {
		return err
	}
	found, err := v.s.cfg.Store.Head(ctx, v.q.bucketName, key, "")
	if err == nil && found.WebsiteRedirect != "" {
		return v.redirect(website.Move{Location: found.WebsiteRedirect, Code: http.StatusMovedPermanently})
	}
	return v.q.op.handle(v.s, ctx, v.q)
}

// readable reports whether anybody may read key, and it is there.
func (v *visit) readable(ctx context.Context, key string) bool {
	if v.as(ctx, key) != nil {
		return false
	}
	_, err := v.s.cfg.Store.Head(ctx, v.q.bucketName, key, "")
	return err == nil
}

func (v *visit) redirect(to website.Move) error {
	h := v.q.w.Header()
	h.Set("Location", to.Location)
	h.Set("Content-Length", "0")
	v.q.w.WriteHeader(to.Code)
	return nil
}

// errorDocument sends the error document with the error's status. It returns
// the error met on the way, if nothing was sent.
func (v *visit) errorDocument(ctx context.Context, e *Error) *Error {
	key := v.config.Error.Key
	if err := v.as(ctx, key); err != nil {
		return fromError(err)
	}
	found, err := v.s.cfg.Store.Head(ctx, v.q.bucketName, key, "")
	if err != nil {
		return fromError(err)
	}
	body, err := v.s.cfg.Store.Get(ctx, objects.GetRequest{Version: found, Length: -1})
	if err != nil {
		return fromError(err)
	}
	defer body.Close() //nolint:errcheck // only read from
	h := v.q.w.Header()
	v.errorHeaders(e)
	contentType := found.ContentType
	if contentType == "" {
		contentType = "binary/octet-stream"
	}
	h.Set("Content-Type", contentType)
	v.q.set("Content-Encoding", found.ContentEncoding)
	v.q.set("Cache-Control", found.CacheControl)
	h.Set("Content-Length", itoa(found.Size))
	h.Set("Etag", `"`+found.ETag+`"`)
	h.Set("Last-Modified", found.Modified.UTC().Format(http.TimeFormat))
	v.q.w.WriteHeader(e.Status)
	if v.q.r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(v.q.w, body); err != nil {
		v.s.cfg.Log.ErrorContext(ctx, "error document broke off", "request", v.q.id, "bucket", v.q.bucketName, "key", key, "err", err)
		panic(http.ErrAbortHandler) // never a short page that looks whole
	}
	return nil
}

func (v *visit) errorHeaders(e *Error) {
	v.q.set("X-Amz-Error-Code", e.sentCode())
	v.q.set("X-Amz-Error-Message", e.Message)
	for _, f := range e.Fields {
		v.q.set("X-Amz-Error-Detail-"+f.Name, headerText(f.Value))
	}
}

// headerText makes a value fit for a header.
func headerText(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// page sends an error page.
func (v *visit) page(e, nested *Error) {
	q := v.q
	if q.w.status != 0 {
		panic(http.ErrAbortHandler) // too late for a page
	}
	p := website.Problem{Request: q.id, Host: q.hostID}
	fillProblem(&p, e)
	if nested != nil {
		p.Nested = &website.Problem{}
		fillProblem(p.Nested, nested)
	}
	v.errorHeaders(e)
	page := p.Page()
	h := q.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", itoa(len(page)))
	q.w.WriteHeader(e.Status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(page) // a client that went away is no error of ours
	}
}

func fillProblem(p *website.Problem, e *Error) {
	p.Status, p.Code, p.Message = e.Status, e.sentCode(), e.Message
	for _, f := range e.Fields {
		p.Fields = append(p.Fields, [2]string{f.Name, f.Value})
	}
}

// sentCode is the code as clients see it.
func (e *Error) sentCode() string {
	if e.Code == "ObjectLocked" {
		return "AccessDenied"
	}
	return e.Code
}

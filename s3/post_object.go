package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/postpolicy"
)

type postResult struct {
	XMLName  xml.Name `xml:"PostResponse"`
	Xmlns    string   `xml:"xmlns,attr"`
	Location string
	Bucket   string
	Key      string
	ETag     string
}

// postObject is POST Object, the upload from a browser's form.
func (s *Server) postObject(ctx context.Context, q *request) error {
	f, err := readForm(q.r)
	if err != nil {
		return err
	}
	proof, err := s.verifier.AuthenticatePost(q.r, f.fields)
	if err != nil {
		return fmt.Errorf("authenticate the form: %w", err)
	}
	if q.auth, err = s.credentialsOf(ctx, proof); err != nil {
		return err
	}
	h := f.header()
	for _, name := range []string{"User-Agent", "Referer"} { // for policies' conditions
		if v := q.header(name); v != "" {
			h.Set(name, v)
		}
	}
	q.r = q.r.Clone(ctx)
	q.r.Header = h
	if q.key, err = f.key(); err != nil {
		return err
	}
	policy, err := q.checkPolicy(f)
	if err != nil {
		return err
	}
	if text, ok := f.fields["tagging"]; ok {
		var doc tagging
		if parseXML([]byte(text), "Tagging", &doc) == nil { // else refused later
			if tags, err := doc.tags(); err == nil {
				q.learnTags(tags)
			}
		}
	}
	if err := q.permit(ctx, "s3:PutObject"); err != nil {
		return err
	}
	return s.storeForm(ctx, q, f, policy)
}

// checkPolicy holds the form against its policy; nil if it has none, which only
// an anonymous form may.
func (q *request) checkPolicy(f *form) (*postpolicy.Policy, error) {
	doc, given := f.fields["policy"]
	if q.auth.anonymous && !given {
		return nil, nil
	}
	p, err := postpolicy.Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	fields := make(map[string]string, len(f.fields))
	for name, value := range f.fields {
		fields[name] = value
	}
	fields["key"] = q.key
	if err := p.Check(fields, q.bucketName, q.s.cfg.Clock()); err != nil {
		return nil, fmt.Errorf("check the policy: %w", err)
	}
	return p, nil
}

// storeForm stores the file of an authorized form and answers.
func (s *Server) storeForm(ctx context.Context, q *request, f *form, policy *postpolicy.Policy) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	claimed, err := parseClaim(q.r.Header)
	if err != nil {
		return err
	}
	tags, err := q.formTags(ctx, f)
	if err != nil {
		return err
	}
	w, err := q.parseWrite(ctx, q.r.Header, b)
	if err != nil {
		return err
	}
	w.attributes.Tags = tags
	w.attributes.Checksum = claimed.objectChecksum()
	verify := claimed.verify(nil, nil)
	body := &bounded{r: f.file, greatest: maxPut}
	if policy != nil {
		_, greatest := policy.LengthRange()
		body.greatest = min(body.greatest, greatest)
	}
	v, err := s.cfg.Store.Put(ctx, objects.PutRequest{
		Bucket: q.bucketName, Key: q.key, Body: body, Size: -1, Attributes: w.attributes, CustomerKey: w.customer.key,
		Verify: func(sums objects.Sums) error {
			if policy != nil {
				if err := policy.CheckLength(sums.Size); err != nil {
					return err //nolint:wrapcheck // it is the answer
				}
			}
			return verify(sums)
		},
	})
	if err != nil {
		return q.writeError(err, catalog.Precondition{})
	}
	q.objectSize = v.Size
	q.emit(ctx, "ObjectCreated:Post", v)
	q.describeWritten(b, &v)
	return q.answerForm(f, &v)
}

// formTags reads the tagging field, a document.
func (q *request) formTags(ctx context.Context, f *form) ([]catalog.Tag, error) {
	text, ok := f.fields["tagging"]
	if !ok {
		return nil, nil
	}
	var doc tagging
	if err := parseXML([]byte(text), "Tagging", &doc); err != nil {
		return nil, err
	}
	if err := q.permit(ctx, "s3:PutObjectTagging"); err != nil {
		return nil, err
	}
	return doc.tags()
}

// answerForm answers as the form's success_action fields ask.
func (q *request) answerForm(f *form, v *catalog.Version) error {
	location := q.locationOf(q.key)
	target := f.fields["success_action_redirect"]
	if target == "" {
		target = f.fields["redirect"]
	}
	if u, err := url.Parse(target); err == nil && target != "" && (u.Scheme == "http" || u.Scheme == "https") {
		query := u.Query()
		query.Set("bucket", q.bucketName)
		query.Set("key", q.key)
		query.Set("etag", quote(v.ETag))
		u.RawQuery = query.Encode()
		q.set("Location", u.String())
		q.w.Header().Set("Content-Length", "0")
		q.w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	q.set("Location", location)
	switch f.fields["success_action_status"] {
	case "200":
		return q.OK()
	case "201":
		return q.XMLStatus(http.StatusCreated, &postResult{Xmlns: Namespace, Location: location, Bucket: q.bucketName, Key: q.key, ETag: quote(v.ETag)})
	}
	return q.NoContent()
}

// A bounded reader fails with EntityTooLarge behind greatest bytes. To name the
// size it counts on, for a bounded while.
type bounded struct {
	r        io.Reader
	n        int64
	greatest int64
}

// maxCounted is how far behind the limit the size is still counted.
const maxCounted = 1 << 20

// Read passes on what is within the limit.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.n <= b.greatest {
		return n, err //nolint:wrapcheck // a reader passes errors on
	}
	more, _ := io.Copy(io.Discard, io.LimitReader(b.r, maxCounted))
	return 0, fail("EntityTooLarge").With("ProposedSize", itoa(b.n+more)).With("MaxSizeAllowed", itoa(b.greatest))
}

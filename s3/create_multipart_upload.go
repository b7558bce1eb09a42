package s3

import (
	"context"
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

type initiateResult struct {
	XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
	Xmlns    string   `xml:"xmlns,attr"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

// createMultipartUpload is CreateMultipartUpload.
func (s *Server) createMultipartUpload(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	w, err := q.parseWrite(ctx, q.r.Header, b)
	if err != nil {
		return err
	}
	if w.attributes.Checksum, err = parseUploadChecksum(q.r.Header); err != nil {
		return err
	}
	u, err := s.cfg.Store.CreateUpload(ctx, objects.CreateUploadRequest{
		Bucket: q.bucketName, Key: q.key, Attributes: w.attributes, Initiator: q.initiator(), CustomerKey: w.customer.key,
	})
	if err != nil {
		return q.writeError(err, catalog.Precondition{})
	}
	q.setEncryption(u.Encryption)
	if c := shown(u.Checksum); c.Algorithm != "" {
		q.set("X-Amz-Checksum-Algorithm", c.Algorithm)
		q.set("X-Amz-Checksum-Type", c.Type)
	}
	return q.XML(&initiateResult{Xmlns: Namespace, Bucket: q.bucketName, Key: q.key, UploadID: u.ID.String()})
}

// initiator is what uploads name who began them by: the canonical id of the
// account, which the root user stands for, and the ARN of any other user.
// Source: S3 API, "Initiator".
func (q *request) initiator() string {
	if q.auth.root {
		return q.auth.user
	}
	return q.auth.identity.ARN()
}

// parseUploadChecksum reads x-amz-checksum-algorithm and x-amz-checksum-type of
// a multipart upload. Without an algorithm parts may come with any, and the
// object gets the default.
func parseUploadChecksum(h http.Header) (catalog.Checksum, error) {
	var c catalog.Checksum
	name, err := askedChecksum(h)
	if err != nil {
		return c, err
	}
	kind, err := parseChecksumType(h)
	if err != nil {
		return c, err
	}
	if name == "" {
		if kind != "" {
			return c, invalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return catalog.Checksum{Algorithm: defaultChecksum, Type: objects.Unasked}, nil
	}
	a := findChecksum(name)
	switch {
	case kind == "" && !a.composite:
		kind = fullObject
	case kind == "":
		kind = composite
	case kind == fullObject && !a.full, kind == composite && !a.composite:
		return c, invalidRequest("The " + kind + " checksum type cannot be used with the " + strings.ToLower(a.name) + " checksum algorithm.")
	}
	return catalog.Checksum{Algorithm: a.name, Type: kind}, nil
}

// parseChecksumType reads x-amz-checksum-type; "" if absent.
func parseChecksumType(h http.Header) (string, error) {
	v := h.Get("X-Amz-Checksum-Type")
	switch kind := strings.ToUpper(v); kind {
	case "", fullObject, composite:
		return kind, nil
	}
	return "", invalidHeader("x-amz-checksum-type")
}

package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// authorize decides whether the request's operation is allowed, and that the
// bucket is whose the client expects it to be.
func (s *Server) authorize(ctx context.Context, q *request) error {
	if q.auth.anonymous && !q.op.anonymous {
		return anonymousRefusal(q.op.name)
	}
	if q.bucketName == "" {
		return q.decide(access.Question{Action: q.op.action})
	}
	if q.op.name == "CreateBucket" {
		return q.decide(access.Question{Action: q.op.action, Bucket: q.bucketName})
	}
	if q.op.body == bodyForm { // decided when the form was read
		return nil
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if err := q.expectOwner(ctx, b, "x-amz-expected-bucket-owner"); err != nil {
		return err
	}
	action := q.op.permission(q.versioned)
	if action == "" || q.op.late {
		return nil
	}
	return q.permitOn(ctx, action, b, q.key, q.version)
}

// anonymousRefusal words, as S3 does, that an operation needs credentials.
func anonymousRefusal(operation string) error {
	switch operation {
	case "CreateMultipartUpload":
		return failMessage("AccessDenied", "Anonymous users cannot initiate multipart uploads. Please authenticate.")
	case "GetBucketOwnershipControls":
		return failMessage("AccessDenied", "s3:GetBucketOwnershipControls does not support Anonymous requests!")
	case "PutBucketOwnershipControls", "DeleteBucketOwnershipControls":
		return failMessage("AccessDenied", "s3:PutBucketOwnershipControls does not support Anonymous requests!")
	case "UploadPartCopy":
		return fail("AccessDenied")
	case "CopyObject":
		return failMessage("AccessDenied", "Anonymous users cannot copy objects. Please authenticate.")
	}
	return failMessage("AccessDenied", "Anonymous users cannot invoke this API. Please authenticate.")
}

// permit decides whether the caller may do a further action on the request's
// object.
func (q *request) permit(ctx context.Context, action string) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	return q.permitOn(ctx, action, b, q.key, q.version)
}

// mayList decides whether the caller may learn which keys a bucket has not.
func (q *request) mayList(ctx context.Context, b *objects.Bucket) error {
	return q.permitOn(ctx, "s3:ListBucket", b, "", "")
}

// permitOn decides an action on any bucket (key "") or object.
func (q *request) permitOn(ctx context.Context, action string, b *objects.Bucket, key string, v catalog.VersionID) error {
	st := q.s.settings.of(b)
	question := access.Question{Action: action, Bucket: b.Name, Key: key, BucketOwner: b.Owner, Ownership: st.ownership, Block: st.block}
	var err error
	if question.Policy, err = q.s.cfg.Access.StoredPolicy(b.Documents[objects.DocPolicy], b.Name); err != nil {
		return err
	}
	if question.BucketACL, err = st.acl, st.aclErr; err != nil {
		return err
	}
	var tags []catalog.Tag
	if key != "" {
		if tags, err = q.objectFacts(ctx, &question, v); err != nil {
			return err
		}
	}
	question.Ask = func() map[string][]string {
		m := q.conditions(v)
		for _, t := range tags {
			m["s3:ExistingObjectTag/"+t.Key] = []string{t.Value}
		}
		return m
	}
	return q.decide(question)
}

// decide asks package access.
func (q *request) decide(question access.Question) error {
	question.Identity = q.auth.identity
	question.Now = q.s.cfg.Clock()
	if question.Ask == nil {
		question.Ask = func() map[string][]string { return q.conditions("") }
	}
	if err := access.Decide(question); err != nil {
		return accessDenied(err, q.auth.anonymous)
	}
	return nil
}

// accessDenied words a refusal: S3 tells users of an explicit deny, and nobody
// of more.
func accessDenied(err error, anonymous bool) error {
	e := fail("AccessDenied").Because(err)
	var d *access.Denied
	if !anonymous && errors.As(err, &d) && d.Explicit {
		source := "an identity-based policy"
		if d.Source == "a bucket policy" {
			source = "a resource-based policy"
		}
		e.Message = fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %q with an explicit deny in %s", d.ARN, d.Action, d.Resource, source)
	}
	return e
}

// objectFacts looks up the object if the decision may turn on its owner, its
// ACL or its tags, which it returns.
func (q *request) objectFacts(ctx context.Context, question *access.Question, v catalog.VersionID) ([]catalog.Tag, error) {
	tags := mentionsTags(question.Policy) || mentionsTags(q.auth.identity.KeyPolicy)
	for _, p := range q.auth.identity.Policies {
		tags = tags || mentionsTags(p)
	}
	if question.Ownership.ACLsDisabled() && !tags {
		return nil, nil
	}
	found, err := q.s.cfg.Store.Head(ctx, question.Bucket, question.Key, v)
	if errors.Is(err, hallig.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up the object: %w", err)
	}
	question.ObjectOwner = found.Owner
	if question.ObjectACL, err = access.DecodeACL(found.ACL); err != nil {
		return nil, fmt.Errorf("object %s/%s: %w", question.Bucket, question.Key, err)
	}
	return found.Tags, nil
}

// mentionsTags reports whether a policy has a condition on existing tags.
func mentionsTags(p *access.Policy) bool {
	if p == nil {
		return false
	}
	for i := range p.Statements {
		st := &p.Statements[i]
		for j := range st.Conditions {
			if strings.HasPrefix(strings.ToLower(st.Conditions[j].Key), "s3:existingobjecttag/") {
				return true
			}
		}
		for _, r := range st.Resources {
			if strings.Contains(strings.ToLower(r), "${s3:existingobjecttag/") {
				return true
			}
		}
	}
	return false
}

// conditions are the request's condition keys. Source: Service Authorization
// Reference, "Actions, resources, and condition keys for Amazon S3". The
// client's address is that of the connection; headers that claim another are
// not believed.
func (q *request) conditions(v catalog.VersionID) map[string][]string {
	m := make(map[string][]string)
	set := func(key, value string) {
		if value != "" {
			m[key] = []string{value}
		}
	}
	h := q.r.Header
	host, _, err := net.SplitHostPort(q.r.RemoteAddr)
	if err != nil {
		host = q.r.RemoteAddr
	}
	set("aws:SourceIp", host)
	set("aws:SecureTransport", boolText(q.r.TLS != nil))
	set("aws:UserAgent", h.Get("User-Agent"))
	set("aws:Referer", h.Get("Referer"))
	set("s3:VersionId", string(v))
	set("s3:authType", q.auth.proof.Kind.Type())
	set("s3:signatureversion", q.auth.proof.Version)
	if !q.auth.anonymous {
		set("s3:signatureAge", itoa(min(q.auth.proof.Age.Milliseconds(), math.MaxInt64)))
	}
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if q.query.Has(name) {
			m["s3:"+name] = []string{q.query.Get(name)}
		}
	}
	headerConditions(h, set)
	if until, err := parseISOTime(h.Get("X-Amz-Object-Lock-Retain-Until-Date")); err == nil {
		m["s3:object-lock-remaining-retention-days"] = []string{q.daysUntil(until)}
	}
	requestTags(h, m)
	maps.Copy(m, q.facts)
	return m
}

func (q *request) daysUntil(t time.Time) string {
	return itoa(int64(t.Sub(q.s.cfg.Clock()) / (24 * time.Hour)))
}

// permitLate asks for the permission of an operation that is marked late.
func (q *request) permitLate(ctx context.Context) error {
	return q.permit(ctx, q.op.permission(q.versioned))
}

// learn adds a condition key that the body tells.
func (q *request) learn(key string, values ...string) {
	if q.facts == nil {
		q.facts = make(map[string][]string)
	}
	q.facts[key] = append(q.facts[key], values...)
}

// learnTags adds the condition keys of the tags in a body.
func (q *request) learnTags(tags []catalog.Tag) {
	for _, t := range tags {
		q.learn("s3:RequestObjectTag/"+t.Key, t.Value)
		q.learn("s3:RequestObjectTagKeys", t.Key)
	}
}

// learnRetention adds the condition keys of the retention in a body.
func (q *request) learnRetention(r catalog.Retention) {
	if r.Mode == "" {
		return
	}
	q.learn("s3:object-lock-mode", r.Mode)
	q.learn("s3:object-lock-retain-until-date", r.Until.UTC().Format(time.RFC3339))
	q.learn("s3:object-lock-remaining-retention-days", q.daysUntil(r.Until))
}

// headerConditions sets the condition keys that are named after headers.
func headerConditions(h http.Header, set func(key, value string)) {
	for _, name := range []string{
		"x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-content-sha256", "x-amz-storage-class",
		"x-amz-website-redirect-location", "x-amz-grant-read", "x-amz-grant-write", "x-amz-grant-read-acp",
		"x-amz-grant-write-acp", "x-amz-grant-full-control", "x-amz-server-side-encryption",
		"x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm",
		"x-amz-object-ownership",
	} {
		set("s3:"+name, h.Get(name))
	}
	set("s3:if-match", h.Get("If-Match"))
	set("s3:if-none-match", h.Get("If-None-Match"))
	set("s3:object-lock-mode", h.Get("X-Amz-Object-Lock-Mode"))
	set("s3:object-lock-legal-hold", h.Get("X-Amz-Object-Lock-Legal-Hold"))
	if until := h.Get("X-Amz-Object-Lock-Retain-Until-Date"); until != "" {
		set("s3:object-lock-retain-until-date", until)
	}
}

// requestTags sets the condition keys of the tags that a write brings.
func requestTags(h http.Header, m map[string][]string) {
	tags, err := parseTagHeader(h.Get("X-Amz-Tagging"))
	if err != nil {
		return // the write is refused for it
	}
	for _, t := range tags {
		m["s3:RequestObjectTag/"+t.Key] = []string{t.Value}
		m["s3:RequestObjectTagKeys"] = append(m["s3:RequestObjectTagKeys"], t.Key)
	}
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// expectOwner compares a bucket's owner with the account that a header names:
// the account's number, the owner's canonical id, or one of its access keys.
func (q *request) expectOwner(ctx context.Context, b *objects.Bucket, name string) error {
	want := q.header(name)
	if want == "" || want == b.Owner || want == q.s.cfg.Access.Account() {
		return nil
	}
	if c, err := q.s.cfg.Access.Lookup(ctx, want); err == nil && c.Identity.User == b.Owner {
		return nil
	}
	return fail("AccessDenied")
}

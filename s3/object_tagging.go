package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/catalog"
)

// getObjectTagging is GetObjectTagging.
func (s *Server) getObjectTagging(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	v, err := q.find(ctx, b)
	if err != nil {
		return err
	}
	q.setVersion(b, v)
	return q.XML(newTagging(v.Tags))
}

// putObjectTagging is PutObjectTagging.
func (s *Server) putObjectTagging(ctx context.Context, q *request) error {
	var doc tagging
	if err := q.ReadXML("Tagging", &doc, maxXML); err != nil {
		return err
	}
	tags, err := doc.tags()
	if err != nil {
		return err
	}
	q.learnTags(tags)
	if err := q.permitLate(ctx); err != nil {
		return err
	}
	if err := q.changeTags(ctx, tags, "ObjectTagging:Put"); err != nil {
		return err
	}
	return q.OK()
}

// deleteObjectTagging is DeleteObjectTagging.
func (s *Server) deleteObjectTagging(ctx context.Context, q *request) error {
	if err := q.changeTags(ctx, nil, "ObjectTagging:Delete"); err != nil {
		return err
	}
	return q.NoContent()
}

func (q *request) changeTags(ctx context.Context, tags []catalog.Tag, event string) error {
	return q.change(ctx, event, func(v *catalog.Version) error {
		v.Tags = tags
		return nil
	})
}

// change edits the attributes of the version that the request names, and tells
// its id. event is "" for changes that S3 does not tell of.
func (q *request) change(ctx context.Context, event string, edit func(*catalog.Version) error) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	found, err := q.find(ctx, b)
	if err != nil {
		return err
	}
	v, err := q.s.cfg.Store.Change(ctx, q.bucketName, q.key, found.ID(), edit)
	if err != nil {
		return fmt.Errorf("change the object's attributes: %w", err)
	}
	q.setVersion(b, &v)
	if event != "" {
		q.emit(ctx, event, v)
	}
	return nil
}

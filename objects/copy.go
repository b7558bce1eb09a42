package objects

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Copy copies a version; see API. Bytes are opened and sealed anew under the
// copy's own key. A copy onto itself that replaces its source (in a bucket
// without versioning, or of the null version) moves the data instead: only its
// key is wrapped anew. It then is ErrConflict if the source changed meanwhile.
func (s *Store) Copy(ctx context.Context, r CopyRequest) (catalog.Version, error) {
	v, err := s.copyMoved(ctx, &r)
	if errors.Is(err, errNotMoved) {
		v, err = s.copyStreamed(ctx, &r)
	}
	if err != nil {
		return catalog.Version{}, fmt.Errorf("copy to %s/%s: %w", r.Bucket, r.Key, err)
	}
	return v, nil
}

var errNotMoved = errors.New("the bytes must be copied")

// copyMoved makes the copy of a version onto itself, or says errNotMoved.
func (s *Store) copyMoved(ctx context.Context, r *CopyRequest) (catalog.Version, error) {
	b, err := s.bucket(ctx, r.Bucket)
	if err != nil {
		return catalog.Version{}, err
	}
	src := &r.Source
	wish := r.Attributes.Checksum.Algorithm
	if src.Bucket != b.ID || src.Key != r.Key || !src.Null || src.DeleteMarker || src.Edit == 0 || b.Versioning == catalog.Enabled ||
		wish != "" && wish != src.Checksum.Algorithm {
		return catalog.Version{}, errNotMoved
	}
	key, err := s.openKey(b, src.DataKey, &src.Encryption, r.SourceCustomerKey)
	if err != nil {
		return catalog.Version{}, err
	}
	_, results, err := s.commit(ctx, r.Bucket, func(b *Bucket) ([]catalog.Op, error) {
		if src.Bucket != b.ID || b.Versioning == catalog.Enabled {
			return nil, errNotMoved // both versions would hold the same data
		}
		v := catalog.Version{Bucket: b.ID, Key: r.Key, Modified: s.now(), Size: src.Size, ETag: src.ETag,
			Parts: src.Parts, Extents: src.Extents, Attributes: r.Attributes}
		v.Checksum = src.Checksum
		if v.Retention.Mode == "" {
			v.Retention = b.Lock.retention(v.Modified)
		}
		var err error
		if v.DataKey, err = s.wrapKey(b, &v.Encryption, r.CustomerKey, key); err != nil {
			return nil, err
		}
		return []catalog.Op{catalog.Put{Version: v, Versioning: b.Versioning, If: r.If, Moved: true, IfEdit: src.Edit}}, nil
	})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return catalog.Version{}, err
	}
	return results[0].Version, nil
}

// copyStreamed reads the source and writes the copy. The memory for both sides
// is acquired at once, so that copies cannot wait for each other.
func (s *Store) copyStreamed(ctx context.Context, r *CopyRequest) (catalog.Version, error) {
	body, g, err := s.openForCopy(ctx, GetRequest{Version: r.Source, Length: -1, CustomerKey: r.SourceCustomerKey}, r.Bucket)
	if err != nil {
		return catalog.Version{}, err
	}
	defer g.release()
	defer body.Close()
	a := r.Attributes
	a.Checksum.Type, a.Checksum.Value = "", ""
	return s.putObject(ctx, PutRequest{
		Bucket: r.Bucket, Key: r.Key, Body: body, Size: r.Source.Size, Attributes: a, CustomerKey: r.CustomerKey, If: r.If,
	}, g)
}

// CopyPart copies a part; see API. The range must lie within the source.
func (s *Store) CopyPart(ctx context.Context, r CopyPartRequest) (catalog.Part, error) {
	fail := func(err error) (catalog.Part, error) {
		return catalog.Part{}, fmt.Errorf("copy part %d of %s/%s: %w", r.Number, r.Bucket, r.Key, err)
	}
	if r.Offset < 0 || r.Offset > r.Source.Size || r.Length > r.Source.Size-r.Offset {
		return fail(fmt.Errorf("range of %d bytes from %d of %d: %w", r.Length, r.Offset, r.Source.Size, hallig.ErrInvalid))
	}
	get := GetRequest{Version: r.Source, Offset: r.Offset, Length: r.Length, CustomerKey: r.SourceCustomerKey}
	body, g, err := s.openForCopy(ctx, get, r.Bucket)
	if err != nil {
		return fail(err)
	}
	defer g.release()
	defer body.Close()
	p, err := s.putPart(ctx, PutPartRequest{
		Bucket: r.Bucket, Key: r.Key, Upload: r.Upload, Number: r.Number, Body: body, Size: body.left, CustomerKey: r.CustomerKey,
	}, g)
	if err != nil {
		return fail(err)
	}
	return p, nil
}

// openForCopy opens the source of a copy into a bucket, under memory that is
// enough for both sides.
func (s *Store) openForCopy(ctx context.Context, r GetRequest, bucket string) (*stream, *grant, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.planGet(ctx, &r)
	if err != nil {
		return nil, nil, err
	}
	pool, err := s.poolFor(ctx, b, s.classOf(p.length))
	if err != nil {
		return nil, nil, err
	}
	if p.length > MaxPart {
		return nil, nil, fmt.Errorf("%d bytes in one copy, at most %d: %w", p.length, int64(MaxPart), hallig.ErrTooLarge)
	}
	s.readers.begin(p)
	g, err := s.memory.acquire(ctx, p.memory()+writeMemory(pool, p.length))
	if err != nil {
		s.readers.end(p)
		return nil, nil, err
	}
	st, err := s.stream(ctx, p, g)
	if err != nil {
		g.release()
		return nil, nil, err
	}
	return st, g, nil
}

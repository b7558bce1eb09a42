package machine

import (
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// The sealed rests, as CBOR maps with integer keys. Times are unix milliseconds.

type versionRest struct {
	Modified int64     `cbor:"1,keyasint"`
	ETag     string    `cbor:"2,keyasint,omitempty"`
	Parts    []restSum `cbor:"3,keyasint,omitempty"`
	Inline   []byte    `cbor:"4,keyasint,omitempty"`
	Key      restKey   `cbor:"5,keyasint,omitzero"`
	restAttributes
}

type restSum struct {
	_        struct{} `cbor:",toarray"`
	Number   int
	Size     int64
	ETag     string
	Checksum string
}

type restKey struct {
	Under   string `cbor:"1,keyasint,omitempty"`
	Epoch   uint32 `cbor:"2,keyasint,omitempty"`
	Wrapped []byte `cbor:"3,keyasint,omitempty"`
}

// IsZero reports whether there is no key, for omitzero.
func (k restKey) IsZero() bool { return k.Under == "" && k.Epoch == 0 && k.Wrapped == nil }

type restTag struct {
	_          struct{} `cbor:",toarray"`
	Key, Value string
}

type restAttributes struct {
	Owner              string            `cbor:"10,keyasint,omitempty"`
	ContentType        string            `cbor:"11,keyasint,omitempty"`
	CacheControl       string            `cbor:"12,keyasint,omitempty"`
	ContentDisposition string            `cbor:"13,keyasint,omitempty"`
	ContentEncoding    string            `cbor:"14,keyasint,omitempty"`
	ContentLanguage    string            `cbor:"15,keyasint,omitempty"`
	Expires            string            `cbor:"16,keyasint,omitempty"`
	WebsiteRedirect    string            `cbor:"17,keyasint,omitempty"`
	StorageClass       string            `cbor:"18,keyasint,omitempty"`
	Metadata           map[string]string `cbor:"19,keyasint,omitempty"`
	Tags               []restTag         `cbor:"20,keyasint,omitempty"`
	ACL                []byte            `cbor:"21,keyasint,omitempty"`
	ChecksumAlgorithm  string            `cbor:"22,keyasint,omitempty"`
	ChecksumType       string            `cbor:"23,keyasint,omitempty"`
	ChecksumValue      string            `cbor:"24,keyasint,omitempty"`
	EncAlgorithm       string            `cbor:"25,keyasint,omitempty"`
	EncKeyID           string            `cbor:"26,keyasint,omitempty"`
	EncContext         string            `cbor:"27,keyasint,omitempty"`
	EncBucketKey       bool              `cbor:"28,keyasint,omitempty"`
	EncCustomerMD5     string            `cbor:"29,keyasint,omitempty"`
	EncCustomerCheck   []byte            `cbor:"30,keyasint,omitempty"`
	RetentionMode      string            `cbor:"31,keyasint,omitempty"`
	RetentionUntil     int64             `cbor:"32,keyasint,omitempty"`
	LegalHold          bool              `cbor:"33,keyasint,omitempty"`
	LegalHoldStated    bool              `cbor:"34,keyasint,omitempty"`
}

type uploadRest struct {
	Initiated int64   `cbor:"1,keyasint"`
	Initiator string  `cbor:"2,keyasint,omitempty"`
	Key       restKey `cbor:"5,keyasint,omitzero"`
	restAttributes
}

type partRest struct {
	Modified int64  `cbor:"1,keyasint"`
	ETag     string `cbor:"2,keyasint,omitempty"`
	Checksum string `cbor:"3,keyasint,omitempty"`
}

// Times before year 1 or after 9999 are clamped to 0, "none".
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func attributesToRest(a *catalog.Attributes) restAttributes {
	r := restAttributes{
		Owner: a.Owner, ContentType: a.ContentType, CacheControl: a.CacheControl,
		ContentDisposition: a.ContentDisposition, ContentEncoding: a.ContentEncoding,
		ContentLanguage: a.ContentLanguage, Expires: a.Expires, WebsiteRedirect: a.WebsiteRedirect,
		StorageClass: a.StorageClass, Metadata: a.Metadata, ACL: a.ACL,
		ChecksumAlgorithm: a.Checksum.Algorithm, ChecksumType: a.Checksum.Type, ChecksumValue: a.Checksum.Value,
		EncAlgorithm: a.Encryption.Algorithm, EncKeyID: a.Encryption.KeyID, EncContext: a.Encryption.Context,
		EncBucketKey: a.Encryption.BucketKey, EncCustomerMD5: a.Encryption.CustomerMD5,
		EncCustomerCheck: a.Encryption.CustomerCheck,
		RetentionMode:    a.Retention.Mode, RetentionUntil: millis(a.Retention.Until), LegalHold: a.LegalHold,
		LegalHoldStated: a.LegalHoldStated,
	}
	for _, t := range a.Tags {
		r.Tags = append(r.Tags, restTag{Key: t.Key, Value: t.Value})
	}
	return r
}

func (r *restAttributes) attributes() catalog.Attributes {
	a := catalog.Attributes{
		Owner: r.Owner, ContentType: r.ContentType, CacheControl: r.CacheControl,
		ContentDisposition: r.ContentDisposition, ContentEncoding: r.ContentEncoding,
		ContentLanguage: r.ContentLanguage, Expires: r.Expires, WebsiteRedirect: r.WebsiteRedirect,
		StorageClass: r.StorageClass, Metadata: r.Metadata, ACL: r.ACL,
		Checksum: catalog.Checksum{Algorithm: r.ChecksumAlgorithm, Type: r.ChecksumType, Value: r.ChecksumValue},
		Encryption: catalog.Encryption{Algorithm: r.EncAlgorithm, KeyID: r.EncKeyID, Context: r.EncContext,
			BucketKey: r.EncBucketKey, CustomerMD5: r.EncCustomerMD5, CustomerCheck: r.EncCustomerCheck},
		Retention: catalog.Retention{Mode: r.RetentionMode, Until: fromMillis(r.RetentionUntil)},
		LegalHold: r.LegalHold, LegalHoldStated: r.LegalHoldStated,
	}
	for _, t := range r.Tags {
		a.Tags = append(a.Tags, catalog.Tag{Key: t.Key, Value: t.Value})
	}
	return a
}

func versionToRest(v *catalog.Version) *versionRest {
	r := &versionRest{Modified: millis(v.Modified), ETag: v.ETag, Inline: v.Inline,
		Key: restKey(v.DataKey), restAttributes: attributesToRest(&v.Attributes)}
	for _, p := range v.Parts {
		r.Parts = append(r.Parts, restSum{Number: p.Number, Size: p.Size, ETag: p.ETag, Checksum: p.Checksum})
	}
	return r
}

func (r *versionRest) fill(v *catalog.Version) {
	v.Modified, v.ETag, v.Inline = fromMillis(r.Modified), r.ETag, r.Inline
	v.DataKey, v.Attributes = catalog.SealedKey(r.Key), r.attributes()
	for _, p := range r.Parts {
		v.Parts = append(v.Parts, catalog.PartSum{Number: p.Number, Size: p.Size, ETag: p.ETag, Checksum: p.Checksum})
	}
}

// associated is what a sealed rest is bound to: where it is, and its clear part.
func associated(table byte, b hallig.BucketID, name, more []byte) []byte {
	a := make([]byte, 0, 1+16+2+len(name)+len(more))
	a = append(append(a, table), b[:]...)
	a = append(a, byte(len(name)>>8), byte(len(name)))
	return append(append(a, name...), more...)
}

// A Vault seals and opens rows.
type Vault struct{ Sealer Sealer }

func (s Vault) name(b hallig.BucketID, key string) ([]byte, error) {
	n, err := s.Sealer.SealName(b, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("seal a name of bucket %s: %w", b, err)
	}
	if len(n) == 0 || len(n) > maxSealedName {
		return nil, fmt.Errorf("sealed name of %d bytes: %w", len(n), hallig.ErrTooLarge)
	}
	return n, nil
}

func (s Vault) openName(b hallig.BucketID, name []byte) (string, error) {
	n, err := s.Sealer.OpenName(b, name)
	if err != nil {
		return "", fmt.Errorf("open a name of bucket %s: %w", b, err)
	}
	return string(n), nil
}

func (s Vault) seal(aad []byte, b hallig.BucketID, rest any) ([]byte, error) {
	plain, err := marshal(rest)
	if err != nil {
		return nil, err
	}
	sealed, err := s.Sealer.SealRecord(b, aad, plain)
	if err != nil {
		return nil, fmt.Errorf("seal a record of bucket %s: %w", b, err)
	}
	return sealed, nil
}

func (s Vault) open(aad []byte, b hallig.BucketID, sealed []byte, rest any) error {
	plain, err := s.Sealer.OpenRecord(b, aad, sealed)
	if err != nil {
		return fmt.Errorf("open a record of bucket %s: %w", b, err)
	}
	return unmarshal(plain, rest)
}

// sealVersion fills a step's Clear and Sealed.
func (s Vault) sealVersion(st *Step, b hallig.BucketID, v *catalog.Version) (err error) {
	st.Clear = clearPart{Null: v.Null, Marker: v.DeleteMarker, Locked: v.LegalHold || v.Retention.Mode != "",
		Size: v.Size, Extents: v.Extents}.append(nil)
	st.Sealed, err = s.seal(associated(tableVersion, b, st.Name, st.Clear), b, versionToRest(v))
	return err
}

// openVersion opens a version's row; Latest is the caller's.
func (s Vault) openVersion(b hallig.BucketID, name []byte, key string, r hallig.Revision, row *versionRow) (catalog.Version, error) {
	v := catalog.Version{Bucket: b, Key: key, Revision: r, Edit: row.Edit, Null: row.Clear.Null,
		DeleteMarker: row.Clear.Marker, Size: row.Clear.Size, Extents: row.Clear.Extents}
	var rest versionRest
	if err := s.open(associated(tableVersion, b, name, row.raw), b, row.Sealed, &rest); err != nil {
		return catalog.Version{}, err
	}
	rest.fill(&v)
	return v, nil
}

func (s Vault) sealUpload(st *Step, b hallig.BucketID, u *catalog.Upload) (err error) {
	rest := &uploadRest{Initiated: millis(u.Initiated), Initiator: u.Initiator, Key: restKey(u.DataKey),
		restAttributes: attributesToRest(&u.Attributes)}
	st.Sealed, err = s.seal(associated(tableUpload, b, st.Name, u.ID[:]), b, rest)
	return err
}

func (s Vault) openUpload(b hallig.BucketID, id hallig.UploadID, row uploadRow) (catalog.Upload, error) {
	key, err := s.openName(b, row.Name)
	if err != nil {
		return catalog.Upload{}, err
	}
	var rest uploadRest
	if err := s.open(associated(tableUpload, b, row.Name, id[:]), b, row.Sealed, &rest); err != nil {
		return catalog.Upload{}, err
	}
	return catalog.Upload{ID: id, Bucket: b, Key: key, Initiated: fromMillis(rest.Initiated), Initiator: rest.Initiator,
		DataKey: catalog.SealedKey(rest.Key), Attributes: rest.attributes()}, nil
}

func partAssociated(b hallig.BucketID, u hallig.UploadID, number uint16, clear []byte) []byte {
	more := append(append(u[:len(u):len(u)], byte(number>>8), byte(number)), clear...)
	return associated(tablePart, b, nil, more)
}

func (s Vault) sealPart(st *Step, b hallig.BucketID, p *catalog.Part) (err error) {
	st.Clear = clearPart{Size: p.Size, Extents: p.Extents}.append(nil)
	rest := &partRest{Modified: millis(p.Modified), ETag: p.ETag, Checksum: p.Checksum}
	st.Sealed, err = s.seal(partAssociated(b, st.Upload, st.Number, st.Clear), b, rest)
	return err
}

func (s Vault) openPart(b hallig.BucketID, u hallig.UploadID, number uint16, row partRow) (catalog.Part, error) {
	var rest partRest
	if err := s.open(partAssociated(b, u, number, row.raw), b, row.Sealed, &rest); err != nil {
		return catalog.Part{}, err
	}
	return catalog.Part{Number: int(number), Size: row.Clear.Size, ETag: rest.ETag, Checksum: rest.Checksum,
		Modified: fromMillis(rest.Modified), Extents: row.Clear.Extents}, nil
}

// recordName seals a mesh record's name unless its kind is clear.
func (s Vault) recordName(kind catalog.Kind, name string) ([]byte, error) {
	if ClearKind(kind) {
		return []byte(name), nil
	}
	return s.name(hallig.BucketID{}, string(kind)+"\x00"+name)
}

func (s Vault) openRecordName(kind catalog.Kind, name []byte) (string, error) {
	if ClearKind(kind) {
		return string(name), nil
	}
	n, err := s.openName(hallig.BucketID{}, name)
	if err != nil {
		return "", err
	}
	if len(n) <= len(kind) || n[:len(kind)] != string(kind) || n[len(kind)] != 0 {
		return "", corrupt("record name")
	}
	return n[len(kind)+1:], nil
}

func (s Vault) sealRecord(kind catalog.Kind, name, value []byte) ([]byte, error) {
	if ClearKind(kind) {
		return value, nil
	}
	return s.Sealer.SealRecord(hallig.BucketID{}, associated(tableRecord, hallig.BucketID{}, name, []byte(kind)), value)
}

func (s Vault) openRecord(kind catalog.Kind, name, value []byte) ([]byte, error) {
	if ClearKind(kind) {
		return append([]byte{}, value...), nil
	}
	return s.Sealer.OpenRecord(hallig.BucketID{}, associated(tableRecord, hallig.BucketID{}, name, []byte(kind)), value)
}

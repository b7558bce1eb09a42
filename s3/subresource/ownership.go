package subresource

// The object ownership settings.
const (
	BucketOwnerEnforced  = "BucketOwnerEnforced" // ACLs are off; the default
	BucketOwnerPreferred = "BucketOwnerPreferred"
	ObjectWriter         = "ObjectWriter"
)

// Ownership is the document of PutBucketOwnershipControls.
type Ownership struct {
	Rules []OwnershipRule `xml:"Rule"`
}

// An OwnershipRule is the one rule of it.
type OwnershipRule struct {
	ObjectOwnership string `xml:"ObjectOwnership"`
}

// ParseOwnership reads ownership controls and returns their one setting.
func ParseOwnership(data []byte) (string, error) {
	var doc Ownership
	if err := Unmarshal(data, "OwnershipControls", &doc); err != nil {
		return "", err
	}
	if len(doc.Rules) != 1 || !ValidOwnership(doc.Rules[0].ObjectOwnership) {
		return "", Malformed()
	}
	return doc.Rules[0].ObjectOwnership, nil
}

// ValidOwnership reports whether s is one of the three settings.
func ValidOwnership(s string) bool {
	return s == BucketOwnerEnforced || s == BucketOwnerPreferred || s == ObjectWriter
}

// EncodeOwnership writes ownership controls.
func EncodeOwnership(setting string) ([]byte, error) {
	return Marshal("OwnershipControls", Ownership{Rules: []OwnershipRule{{setting}}})
}

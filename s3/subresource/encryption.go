package subresource

// Encryption is the document of PutBucketEncryption.
type Encryption struct {
	Rules []EncryptionRule `xml:"Rule"`
}

// An EncryptionRule is the one rule of it.
type EncryptionRule struct {
	Default   *EncryptionDefault `xml:"ApplyServerSideEncryptionByDefault"`
	BucketKey *bool              `xml:"BucketKeyEnabled"`
	Blocked   *BlockedEncryption `xml:"BlockedEncryptionTypes"`
}

// EncryptionDefault is what a write without encryption headers gets.
type EncryptionDefault struct {
	Algorithm string `xml:"SSEAlgorithm"` // AES256, aws:kms, aws:kms:dsse
	KeyID     string `xml:"KMSMasterKeyID,omitempty"`
}

// BlockedEncryption names kinds of encryption that writes must not use.
type BlockedEncryption struct {
	Types []string `xml:"EncryptionType"`
}

// ParseEncryption reads a default-encryption configuration.
func ParseEncryption(data []byte) (EncryptionRule, error) {
	var doc Encryption
	if err := Unmarshal(data, "ServerSideEncryptionConfiguration", &doc); err != nil {
		return EncryptionRule{}, err
	}
	if len(doc.Rules) != 1 {
		return EncryptionRule{}, Malformed()
	}
	r := doc.Rules[0]
	if r.Default == nil && r.Blocked == nil {
		return EncryptionRule{}, Malformed()
	}
	if r.Blocked != nil {
		if err := checkBlocked(r.Blocked.Types); err != nil {
			return EncryptionRule{}, err
		}
	}
	if r.Default == nil {
		r.Default = &EncryptionDefault{Algorithm: "AES256"}
	}
	switch r.Default.Algorithm {
	case "aws:kms", "aws:kms:dsse":
	case "AES256":
		if r.Default.KeyID != "" {
			return EncryptionRule{}, BadArgument("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse", "", "")
		}
	default:
		return EncryptionRule{}, Malformed()
	}
	return r, nil
}

// checkBlocked takes only NONE: blocking is not built, and saying yes would
// promise it.
func checkBlocked(types []string) error {
	for _, t := range types {
		switch t {
		case "NONE":
		case "SSE-C":
			return NotImplemented("BlockedEncryptionTypes")
		default:
			return Malformed()
		}
	}
	return nil
}

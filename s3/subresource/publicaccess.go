package subresource

// PublicAccessBlock is the document of PutPublicAccessBlock.
type PublicAccessBlock struct {
	BlockPublicAcls       bool `xml:"BlockPublicAcls"`       // refuse PUTs of public ACLs
	IgnorePublicAcls      bool `xml:"IgnorePublicAcls"`      // grant nothing by public ACLs
	BlockPublicPolicy     bool `xml:"BlockPublicPolicy"`     // refuse PUTs of public policies
	RestrictPublicBuckets bool `xml:"RestrictPublicBuckets"` // with a public policy, only the owner's users
}

// ParsePublicAccessBlock reads a public access block; what is left out is off.
func ParsePublicAccessBlock(data []byte) (PublicAccessBlock, error) {
	var p PublicAccessBlock
	if err := Unmarshal(data, "PublicAccessBlockConfiguration", &p); err != nil {
		return PublicAccessBlock{}, err
	}
	return p, nil
}

// EncodePublicAccessBlock writes a public access block.
func EncodePublicAccessBlock(p PublicAccessBlock) ([]byte, error) {
	return Marshal("PublicAccessBlockConfiguration", p)
}

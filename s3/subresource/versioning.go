package subresource

// Versioning is the document of PutBucketVersioning and GetBucketVersioning.
type Versioning struct {
	Status    string `xml:"Status,omitempty"`    // Enabled, Suspended or "" for never set
	MFADelete string `xml:"MfaDelete,omitempty"` // Enabled, Disabled or ""
}

// ParseVersioning reads a versioning configuration. MFA delete needs devices
// that Hallig does not know: Enabled is refused, Disabled is what holds anyway.
func ParseVersioning(data []byte) (Versioning, error) {
	var v Versioning
	if err := Unmarshal(data, "VersioningConfiguration", &v); err != nil {
		return Versioning{}, err
	}
	switch v.MFADelete {
	case "", "Disabled":
	case "Enabled":
		return Versioning{}, NotImplemented("MfaDelete")
	default:
		return Versioning{}, Malformed()
	}
	switch v.Status {
	case "Enabled", "Suspended":
		return v, nil
	case "":
		return Versioning{}, &Error{
			Code:    "IllegalVersioningConfigurationException",
			Message: "The Versioning element must be specified",
			Status:  400,
		}
	}
	return Versioning{}, Malformed()
}

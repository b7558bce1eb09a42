package subresource

import (
	"net/netip"
	"strings"
)

// ValidBucketName reports whether name may be given to a new bucket: 3 to 63
// characters of a–z, 0–9, dots and hyphens, beginning and ending with a letter
// or digit, no two dots together, not shaped like an IPv4 address, and none of
// the prefixes and suffixes that Amazon S3 keeps to itself. A dot beside a
// hyphen is allowed, as it is there.
//
// Source: "General purpose bucket naming rules", Amazon S3 user guide.
func ValidBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		edge := i == 0 || i == len(name)-1
		if !alnum && (edge || c != '-' && c != '.') {
			return false
		}
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Is4() || dottedQuad(name) {
		return false
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, s := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return false
		}
	}
	return true
}

// dottedQuad also catches numbers that are no address, such as 999.1.1.1.
func dottedQuad(name string) bool {
	parts := strings.Split(name, ".")
	if len(parts) != 4 {
		return false
	}
	for _, p := range parts {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

package objects

// A crcKind describes a reflected CRC whose register starts as all ones and is
// inverted at the end, as those of S3 are.
type crcKind struct {
	width uint   // 32 or 64
	poly  uint64 // reflected, without the top term
}

// The CRCs that S3 knows. Polynomials in reflected form: IEEE 802.3,
// Castagnoli, and NVM Express (CRC-64/NVME of the CRC RevEng catalogue).
const (
	polyCRC32     = 0xedb88320
	polyCRC32C    = 0x82f63b78
	polyCRC64NVME = 0x9a6c9329ac4bc9b5
)

// multiply returns a·b modulo the polynomial; bit width-1 is x^0.
func (k crcKind) multiply(a, b uint64) uint64 {
	top := uint64(1) << (k.width - 1)
	var p uint64
	for a != 0 {
		if a&top != 0 {
			p ^= b
		}
		a = a << 1 & (top<<1 - 1)
		if b&1 != 0 {
			b = b>>1 ^ k.poly
		} else {
			b >>= 1
		}
	}
	return p
}

// power returns x^(8·n) modulo the polynomial.
func (k crcKind) power(n uint64) uint64 {
	one := uint64(1) << (k.width - 1)
	p, square := one, one>>8 // x^0, x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p = k.multiply(square, p)
		}
		square = k.multiply(square, square)
	}
	return p
}

// combine returns the CRC of a‖b from the CRCs of a and b and b's length in
// bytes, by the linearity of CRCs over GF(2) (as in zlib's crc32_combine).
func (k crcKind) combine(a, b uint64, lengthB int64) uint64 {
	return k.multiply(k.power(uint64(lengthB)), a) ^ b
}

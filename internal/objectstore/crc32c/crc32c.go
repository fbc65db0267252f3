// Package crc32c holds the checksum arithmetic that Cloud Storage objects need beyond hash/crc32: the
// checksum of two byte strings laid end to end from the checksums of each, so that a composite is verified
// without reading a byte of it. The same goes for the CRC-32 of zip files.
package crc32c

import "hash/crc32"

// Table is the Castagnoli table that Cloud Storage checksums use. It must not be changed.
var Table = crc32.MakeTable(crc32.Castagnoli)

// Update returns the checksum of the bytes behind crc followed by p.
func Update(crc uint32, p []byte) uint32 { return crc32.Update(crc, Table, p) }

// Combine returns the checksum of A followed by B, given the checksum of each and the length of B in bytes.
// The cost is one 32x32 bit matrix squaring per bit of len2: tens of microseconds for a gigabyte-sized part.
// A len2 of zero or less returns crc1.
//
// A CRC register is linear over GF(2): appending len2 zero bytes to A is a matrix power applied to crc1, and
// B's own checksum is then added with exclusive or. The pre- and post-inversions cancel.
func Combine(crc1, crc2 uint32, len2 int64) uint32 {
	return combine(crc32.Castagnoli, crc1, crc2, len2)
}

// CombineIEEE is Combine for the polynomial of zip and gzip, that of crc32.ChecksumIEEE.
func CombineIEEE(crc1, crc2 uint32, len2 int64) uint32 { return combine(crc32.IEEE, crc1, crc2, len2) }

func combine(polynomial, crc1, crc2 uint32, len2 int64) uint32 {
	if len2 <= 0 {
		return crc1
	}
	op := oneZeroBit(polynomial)
	op = op.square().square().square() // one zero byte
	for n := uint64(len2); ; op = op.square() {
		if n&1 == 1 {
			crc1 = op.times(crc1)
		}
		if n >>= 1; n == 0 {
			return crc1 ^ crc2
		}
	}
}

// matrix is a linear map of the 32 register bits; column i is the image of bit i.
type matrix [32]uint32

// oneZeroBit is the map that feeding a single zero bit does to the (reflected) register.
func oneZeroBit(polynomial uint32) *matrix {
	var m matrix
	m[0] = polynomial
	for i := 1; i < 32; i++ {
		m[i] = 1 << (i - 1)
	}
	return &m
}

func (m *matrix) times(v uint32) uint32 {
	var sum uint32
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 == 1 {
			sum ^= m[i]
		}
	}
	return sum
}

func (m *matrix) square() *matrix {
	var sq matrix
	for i := range m {
		sq[i] = m.times(m[i])
	}
	return &sq
}

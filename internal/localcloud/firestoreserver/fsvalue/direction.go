package fsvalue

// Direction of an index component or an order.
type Direction uint8

// The two directions.
const (
	Ascending Direction = iota
	Descending
)

// Reverse returns the other direction.
func (d Direction) Reverse() Direction { return d ^ 1 }

// String returns ASCENDING or DESCENDING.
func (d Direction) String() string {
	if d == Descending {
		return "DESCENDING"
	}
	return "ASCENDING"
}

// mask is what each byte of a component is XORed with.
func (d Direction) mask() byte { return -byte(d & 1) }

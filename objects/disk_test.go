package objects_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
)

// The path over drives in real directories: sizes around every boundary, ranges,
// and two of four drives away.
func TestOnDisk(t *testing.T) {
	for _, drives := range []int{1, 4} {
		m := objectstest.NewMesh(t, objectstest.Options{Drives: drives, Open: onDisk(t)})
		bucket(t, m.Store, objects.Bucket{Name: "b"})
		r := seed(t)
		for i, n := range []int{0, 1, 65536, 65537, 131073, 1<<20 + 3, 9<<20 + 1} {
			data := body(uint64(i), n)
			v := put(t, m.Store, "b", fmt.Sprint(i), data)
			for round := range 4 {
				off := r.Int64N(int64(n) + 1)
				length := r.Int64N(int64(n) - off + 1)
				if round == 0 {
					off, length = 0, int64(n)
				}
				if drives == 4 && round > 1 {
					for _, x := range r.Perm(4)[:2] {
						m.Drives.SetAway(m.Drives.IDs()[x], true)
					}
				}
				if got, err := get(m.Store, v, off, length); err != nil || !bytes.Equal(got, data[off:off+length]) {
					t.Fatalf("%d drives, %d bytes, range %d+%d: %v", drives, n, off, length, err)
				}
				for _, id := range m.Drives.IDs() {
					m.Drives.SetAway(id, false)
				}
			}
		}
		if d := m.Damage(); len(d) != 0 {
			t.Errorf("damage on sound drives: %v", d[0])
		}
	}
}

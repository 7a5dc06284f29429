;; States times weights, for several cases at once: out[case] += sum over units of state * weight[unit].
;;
;; Weights are rows of `stride` bytes, a multiple of 64. `list` names, case after case, how many units are on, and of
;; each the offset of its row in bytes and its state (f32). Columns are taken 16 at a time, so that their sums stay in
;; registers, and for all cases one after the other, so that the weights of these columns stay in the cache.
(module
  (import "page" "memory" (memory 1))
  (func (export "add_rows")
    (param $list i32) (param $cases i32) (param $weight i32) (param $stride i32) (param $out i32)
    (local $column i32) (local $case i32) (local $at i32) (local $end i32) (local $row i32) (local $to i32)
    (local $state v128) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (loop $columns
      (local.set $at (local.get $list))
      (local.set $to (i32.add (local.get $out) (local.get $column)))
      (local.set $case (i32.const 0))
      (loop $each_case
        (local.set $a (v128.load (local.get $to)))
        (local.set $b (v128.load offset=16 (local.get $to)))
        (local.set $c (v128.load offset=32 (local.get $to)))
        (local.set $d (v128.load offset=48 (local.get $to)))
        (local.set $end (i32.add (i32.add (local.get $at) (i32.const 4)) (i32.shl (i32.load (local.get $at)) (i32.const 3))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (block $no_more
          (loop $units
            (br_if $no_more (i32.ge_u (local.get $at) (local.get $end)))
            (local.set $row (i32.add (i32.add (local.get $weight) (local.get $column)) (i32.load (local.get $at))))
            (local.set $state (v128.load32_splat offset=4 (local.get $at)))
            (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $state) (v128.load (local.get $row)))))
            (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $state) (v128.load offset=16 (local.get $row)))))
            (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $state) (v128.load offset=32 (local.get $row)))))
            (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $state) (v128.load offset=48 (local.get $row)))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $units)))
        (v128.store (local.get $to) (local.get $a))
        (v128.store offset=16 (local.get $to) (local.get $b))
        (v128.store offset=32 (local.get $to) (local.get $c))
        (v128.store offset=48 (local.get $to) (local.get $d))
        (local.set $to (i32.add (local.get $to) (local.get $stride)))
        (local.set $case (i32.add (local.get $case) (i32.const 1)))
        (br_if $each_case (i32.lt_u (local.get $case) (local.get $cases))))
      (local.set $column (i32.add (local.get $column) (i32.const 64)))
      (br_if $columns (i32.lt_u (local.get $column) (local.get $stride))))))

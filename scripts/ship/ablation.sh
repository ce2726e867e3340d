#!/usr/bin/env bash
# SHIP's ablations, one change at a time: generators, start of the context, KL weight, number of context vectors, hidden
# sizes, share of synthetic features, and what goes beyond the paper. Tested among its own classes and among all.
#
#   bash scripts/ship/ablation.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: ROWS (names of the rows below; default all), SUBSET (default gzsl; dev: within the base classes, to
# choose settings without a look at the test images; in a folder of its own), JOBS as in _experiment.sh, and DATA CFG SHOTS OUTPUT FEATURE_CACHE
# OPTS PYTHON VERBOSE as in _run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

# name, then KEY VALUE pairs under TRAINER.SHIP
ablations() {
    cat <<'END'
SHIP
GAN              GENERATOR.NAME GAN
MLP              GENERATOR.NAME MLP
Gaussian         GENERATOR.NAME Gaussian
generator-words  GENERATOR.CTX_INIT a_photo_of_a
learner-random   CTX_INIT ""
kl-0.003         GENERATOR.KL_WEIGHT 0.003
kl-0.3           GENERATOR.KL_WEIGHT 0.3
kl-1             GENERATOR.KL_WEIGHT 1.0
L-1              GENERATOR.N_CTX 1
L-16             GENERATOR.N_CTX 16
hidden-quarter   GENERATOR.HIDDEN 256 GENERATOR.ENCODER_HIDDEN 128
hidden-double    GENERATOR.HIDDEN 2048 GENERATOR.ENCODER_HIDDEN 1024
share-0.25       SYNTHETIC_SHARE 0.25
share-4          SYNTHETIC_SHARE 4.0
weight-0.5       SYNTHETIC_WEIGHT 0.5
of-all-classes   SYNTHETIC_CLASSES all
filter           FILTER True
posterior        GENERATOR.LATENT posterior
kl-anneal        GENERATOR.KL_ANNEAL 25
free-bits        GENERATOR.FREE_BITS 10.0
own-and-joint    OWN_WEIGHT 1.0
own-alone        OWN_WEIGHT 1.0 JOINT_WEIGHT 0.0
anchor           ANCHOR_WEIGHT 1.0
END
}

take_arguments "$@"
SUBSET=${SUBSET:-gzsl}
table=ablation$([ "$SUBSET" = gzsl ] || echo "_$SUBSET")
need_dataset "$dataset"

run_one() { # "seed name KEY VALUE ..."
    local words pairs=() folder
    read -r -a words <<<"$1"
    local seed=${words[0]} name=${words[1]} i
    for ((i = 2; i < ${#words[@]}; i += 2)); do
        pairs+=("TRAINER.SHIP.${words[i]}" "${words[i + 1]//\"/}")
    done
    folder="$OUTPUT/$table/$dataset/shots_$SHOTS/$name/$(config_of SHIP "$dataset")/seed$seed"
    step "$name seed $seed" "$folder" joint_run SHIP "$dataset" "$seed" "$folder" "$SUBSET" "${pairs[@]}"
}

rows=()
while read -r row; do
    case " ${ROWS:-${row%% *}} " in *" ${row%% *} "*) rows+=("$row") ;; esac
done < <(ablations)
echo "Ablations of SHIP on $dataset, $SHOTS shots, seeds ${seeds[*]}"
for_each_pair run_one "${rows[@]}"
stem="$OUTPUT/$table/${dataset}_shots_$SHOTS"
finish "$OUTPUT/$table" "$stem.md" "$stem.csv" "$stem.json"

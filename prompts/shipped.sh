#!/usr/bin/env bash
# Writes the shipped prompt files that are not there: bash prompts/shipped.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"
cd "$AIM_FAIR_ROOT"

write() {
    [ -e "prompts/$1.json" ] || "$PYTHON" -m prompts.write --template --target-sensitive "$@"
}

write Smiling_Male --target 'smiling|serious' --protected 'man|woman' \
    --sentence 'Portrait face photo of a {Smiling} {age} {Male}'
write Smiling_Young --target 'smiling|serious' --protected 'young|elderly' \
    --sentence 'Portrait face photo of a {Smiling} {Young} person'
write Young_Male --target 'young|elderly' --protected 'man|woman' --sentence 'Portrait face photo of a {Young} {Male}'
write Male_Young --target 'man|woman' --protected 'young|elderly' --sentence 'Portrait face photo of a {Young} {Male}'
write BlondHair_Male --target 'blond hair|black hair,brown hair,red hair' --protected 'man|woman' \
    --sentence 'Portrait face photo of a {age} {Male} with {BlondHair}'
write BlackHair_Young --target 'black hair|blond hair,brown hair,red hair' --protected 'young|elderly' \
    --sentence 'Portrait face photo of a {Young} person with {BlackHair}'
write Female_White --ages --target 'female|male' \
    --protected 'White|Black,East Asian,South Asian,Hispanic,Middle Eastern' \
    --sentence 'Portrait face photo of a {age} {White} {Female}'
write Female_Race --ages --target 'female|male' \
    --protected 'White=White|Black=Black|Asian=East Asian|Indian=Indian|Others=Hispanic,Middle Eastern' \
    --sentence 'Portrait face photo of a {age} {Race} {Female}'
write Age_Female --target '0-17=child,teenager|18-39=young adult|40+=middle-aged person,elderly person' \
    --protected 'female|male' --sentence 'Portrait face photo of a {Female} {Age}'
write Smiling_MaleYoung --target 'smiling|serious' --protected 'man|woman' 'young|elderly' \
    --sentence 'Portrait face photo of a {Smiling} {Young} {Male}'
write Cat_Bright --contexts prompts/contexts/animals.json --target 'cat|dog' \
    --protected 'in bright sunlight|in dim light' --sentence 'Photo of a {age} {Cat} {Bright}'
